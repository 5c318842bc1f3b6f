"""Writing TOML that holds any text as name or value, with a comment beside what needs one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from nasbench_rec.errors import ConfigError

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 40


def quoted(text: str) -> str:
    """Return `text` as a TOML basic string; ConfigError where it holds half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{text!r} holds half of a surrogate pair, which no file can; rename it") from None
    # JSON's escapes are TOML's, but TOML wants one more control character escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def shown(value: object) -> str:
    """Return a value as it may stand in a comment: on one line, in quotes, cut to a length."""
    text = str(value)
    cut = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    return quoted(cut.encode(errors="replace").decode())


def comment(text: str) -> str:
    """Return `text` as a comment; what is not allowed there becomes a space."""
    return "# " + re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", " ", text)


def value(item: Any) -> str:
    """Return a text, number, truth value, sequence or mapping as TOML on one line."""
    if isinstance(item, str):
        return quoted(item)
    if isinstance(item, Mapping):
        return "{ " + ", ".join(pair(str(key), one) for key, one in item.items()) + " }" if item else "{}"
    if isinstance(item, Sequence):
        return "[" + ", ".join(value(one) for one in item) + "]"
    return json.dumps(item)


def pair(key: str, item: Any) -> str:
    """Return `key = value`."""
    return f"{key if _BARE.fullmatch(key) else quoted(key)} = {value(item)}"


def listing(key: str, items: Mapping[str, str]) -> list[str]:
    """Return the lines of a list of texts, one a line, each with its comment."""
    if not items:
        return [f"{key} = []"]
    cells = [f"  {quoted(name)}," for name in items]
    width = min(max(map(len, cells)), _SHOWN)
    noted = zip(cells, items.values(), strict=True)
    lines = [f"{cell:<{width}}  {comment(note)}" if note else cell for cell, note in noted]
    return [f"{key} = [", *lines, "]"]
