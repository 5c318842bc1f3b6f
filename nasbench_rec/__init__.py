"""nasbench-rec: an honest comparison of embedding-dimension search methods for CTR models."""

__version__ = "0.1.0"
