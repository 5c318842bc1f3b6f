"""Search methods, one module each; registered by entry points in `pyproject.toml`."""
