"""Atomic writing of report files."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from nasbench_rec.errors import StoreError


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write each file into `folder` (made if missing), whole or not at all; return the paths.

    `StoreError` names the path that cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(_refusal(folder, error)) from None
    return [_write(folder / name, content) for name, content in files.items()]


def _write(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(_refusal(path, error)) from None
    return path


def _refusal(path: Path, error: OSError) -> str:
    return f"{path}: cannot be written ({error.strerror}); choose a folder that you may write to."
