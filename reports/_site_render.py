"""Templates to pages: all text is escaped but our own SVG and JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any

from nasbench_rec.reports._text import clean, encoded

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
ASSETS = ("site.css", "site.js")


def asset(name: str) -> str:
    """Return the text of a file of the site's folder of templates."""
    return resources.files("nasbench_rec.reports").joinpath("templates", name).read_text("utf-8")


@dataclass(frozen=True)
class Pages:
    """What all pages of a site share."""

    title: str
    source: str
    """The footer's sentence on the records."""
    sections: Sequence[tuple[str, str, str]]
    """Key, name and path of the parts that the head of each page leads to."""

    @cached_property
    def _templates(self) -> Environment:
        from jinja2 import Environment, FunctionLoader, StrictUndefined

        found = Environment(
            loader=FunctionLoader(asset),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_shown,
        )
        found.filters["prose"] = prose
        return found

    def page(self, path: str, template: str, here: str, **values: Any) -> bytes:
        """Return the page that stands at `path`; `here`: the part of the site that it belongs to."""
        found = self._templates.get_template(f"{template}.html.jinja")
        return encoded(found.render(site=self, root=root_of(path), here=here, **values) + "\n")


def root_of(path: str) -> str:
    """Return the way from a page at `path` to the folder of the site."""
    return "../" * path.count("/")


def prose(text: str) -> Markup:
    """Return text as HTML: what stands between backticks is code, and all of it is escaped."""
    from markupsafe import Markup, escape

    parts = _shown(text).split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(p) if i % 2 else escape(p) for i, p in enumerate(parts)
    )


def _shown(value: Any) -> Any:
    """Return text without characters that would turn the text around them, or end it; all else as it is."""
    if type(value) is not str or value.isascii() and not _CONTROL.search(value):
        return value
    return clean(value, keep="\n\t")
