"""Data sets, one module each; registered by entry points in `pyproject.toml`."""
