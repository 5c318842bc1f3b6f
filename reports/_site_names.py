"""How pages and files of the site are called: short, unique, and harmless on every file system."""

from __future__ import annotations

import hashlib
import re
import unicodedata

READABLE = 40
"""Characters of a name that its page's file keeps."""


def slug(*names: str) -> str:
    """Return a file name for what is called `names`: readable ASCII, and a hash that keeps different names apart.

    It has neither separators nor dots, and the hash keeps it from being a reserved name such as `con`.
    """
    text = unicodedata.normalize("NFKD", " ".join(names)).encode("ascii", "ignore").decode().lower()
    readable = re.sub("[^a-z0-9]+", "-", text)[:READABLE].strip("-")
    exact = "\0".join(names).encode("utf-8", "surrogatepass")
    return f"{readable or 'page'}-{hashlib.sha256(exact).hexdigest()[:8]}"


def method_of(name: str) -> str:
    """Return the method that a name with preset (`ihas/robust`) belongs to; odd names are methods of their own."""
    base = name.partition("/")[0]
    return base if re.fullmatch(r"[\w:-]+", base) else name


def dataset_page(dataset: str) -> str:
    """Return the path of a data set's page below the site."""
    return f"datasets/{slug(dataset)}.html"


def method_page(name: str) -> str:
    """Return the path of the page of a method, given with or without its preset."""
    return f"methods/{slug(method_of(name))}.html"


def records_page(dataset: str, backbone: str, label: str) -> str:
    """Return the path of the page of the records behind one row."""
    return f"records/{slug(label, dataset, backbone)}.html"
