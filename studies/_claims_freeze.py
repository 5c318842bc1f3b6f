"""Freezing a claim set: its content and hash are written before its first unit runs, and hold from then on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasbench_rec.studies._claims_form import ClaimSet

from nasbench_rec.config import canonical, plain, write_text
from nasbench_rec.errors import StoreError

FORMAT = 1
FILE = "claims.json"


def content_of(claims: ClaimSet) -> dict[str, Any]:
    """Return what is frozen: the words of the set, and each claim with all that it depends on."""
    words = {name: getattr(claims, name) for name in ("name", "title", "paper", "source")}
    return plain({**words, "claims": {c.id: claims.content(c) for c in claims.claims}})


def digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a content's canonical form."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def freeze(claims: ClaimSet, folder: Path) -> dict[str, Any]:
    """Write `claims.json` into `folder`, or return what stands there if it says the same.

    `StoreError` where it says something else, or was edited: claims hold from the first check on.
    """
    content = content_of(claims)
    path = folder / FILE
    if path.exists():
        found = read_frozen(path)
        if found["sha256"] != digest(content):
            raise StoreError(_refusal(path, found, content))
        return found
    found = {"format": FORMAT, "sha256": digest(content), "frozen": _now(), "content": content}
    write_text(path, json.dumps(found, indent=1) + "\n")
    return found


def read_frozen(path: Path) -> dict[str, Any]:
    """Return a frozen claim set; `StoreError` where it cannot be read or its hash is another."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known = digest(found["content"]), found["sha256"], found["frozen"]
        if found["format"] != FORMAT:
            raise ValueError(f"it has format {found['format']}, this version reads {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: is no readable frozen claim set ({error}); {_REMEDY}") from None
    if known[0] != known[1]:
        raise StoreError(
            f"{path}: was edited after it was frozen on {known[2]}: its content has SHA-256 {known[0][:12]}, not "
            f"{known[1][:12]} as it says; {_REMEDY}"
        )
    return found


_REMEDY = "put the file back from a copy, or check the claims under a new name (a copy of the TOML file)."


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _refusal(path: Path, found: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    what = "; ".join(changes(found["content"], content))
    return (
        f"{path}: the claim set was frozen on {found['frozen']} and is another now: {what}. Its runs may have been "
        "seen since, so a verdict on the new text would not be a test. Put the old content back, or give the new one "
        f"a new name (copy the TOML file) and seeds that were not run."
    )


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say which claims differ between two contents, and in what."""
    before, after = old["claims"], new["claims"]
    found = [f"{n} changed" for n in ("name", "title", "paper", "source") if old.get(n) != new.get(n)]
    found += [f"claim {i!r} is gone" for i in before if i not in after]
    found += [f"claim {i!r} is new" for i in after if i not in before]
    for i in (i for i in before if i in after):
        names = sorted({*before[i], *after[i]})
        if differing := [n for n in names if before[i].get(n) != after[i].get(n)]:
            found.append(f"claim {i!r} changed in {', '.join(differing)}")
    return found or ["the order of the claims changed"]
