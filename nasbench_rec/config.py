"""Strict reading of configurations, and the canonical form from which keys are made."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tomllib
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from nasbench_rec.errors import ConfigError, StoreError, unknown

T = TypeVar("T")


def plain(value: Any) -> Any:
    """Return `value` as JSON-able data: dataclasses as objects, tuples as lists, paths as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def canonical(value: Any) -> str:
    """Return the canonical JSON of `value`: sorted keys, no spaces; equal content gives equal text."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(value: Any, length: int = 20) -> str:
    """Return the content hash of `value` (SHA-256, hexadecimal, cut to `length`)."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build the frozen dataclass `cls` from `values`, strictly; `where` names the source in errors."""
    from pydantic import TypeAdapter, ValidationError

    allowed = [f.name for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
    for name in values:
        if name not in allowed:
            raise ConfigError(f"{where}: {unknown('setting', name, allowed)}")
        _check_value(values[name], f"{where}: {name}")
    try:
        return TypeAdapter(cls).validate_json(json.dumps(plain(values)), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(str(part) for part in first["loc"]) or "(whole)"
        raise ConfigError(f"{where}: {setting} = {first['input']!r}: {first['msg']}") from None


def _check_value(value: Any, where: str) -> None:
    """Refuse what no record can hold."""
    try:
        canonical(value)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{where} = {value!r}: must be a text, a finite number, true, false, or a list of them."
        ) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; a missing or broken file is a `ConfigError` that names it and the line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give the path of a TOML file."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}.") from None


def literal(text: str) -> Any:
    """Read a `--set` value: a JSON value (numbers, true/false, lists, null), or else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def parse_settings(texts: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Read `--set name.field=value` texts; `name` is a method, a data set or `protocol`."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        target, equals, value = text.partition("=")
        name, dot, setting = target.rpartition(".")
        if not (equals and dot and name and setting):
            raise ConfigError(
                f"--set {text!r}: write it as name.field=value, for example ihas.k=4 or protocol.dim=16."
            )
        found.setdefault(name, {})[setting] = literal(value)
    return found


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees the old content or the new, never half of it."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror}); choose a folder you may write to."
        ) from None
    finally:
        with suppress(OSError):
            part.unlink()
