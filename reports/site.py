"""The site: a store's records as a folder of pages that opens from the file system and asks nobody for anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from nasbench_rec.reports import _writers
from nasbench_rec.reports._ablation_plan import StoredPlan, stored_plans
from nasbench_rec.reports._files import write_files
from nasbench_rec.reports._site_ablations import ablation_pages
from nasbench_rec.reports._site_claims import claim_pages, stored_claims
from nasbench_rec.reports._site_content import About, SiteContent, SiteStudy
from nasbench_rec.reports._site_figures import more_figures
from nasbench_rec.reports._site_names import records_page
from nasbench_rec.reports._site_pages import Card, dataset_pages, index_page, method_pages, plural
from nasbench_rec.reports._site_records import SiteRecords, site_records
from nasbench_rec.reports._site_render import ASSETS, Pages, asset
from nasbench_rec.reports._site_studies import study_pages
from nasbench_rec.reports._site_units import anchor, record_pages
from nasbench_rec.reports._text import encoded, one_line
from nasbench_rec.reports.comparison import Evidence
from nasbench_rec.reports.figures import auc_over_bytes_frame
from nasbench_rec.reports.leaderboard import leaderboard_frame

from nasbench_rec.errors import StoreError

__all__ = ["About", "SiteContent", "SiteStudy", "site_files", "write_site"]

MANIFEST = "site.json"
"""Names the files of the site, so that the next one can remove those that it no longer has."""
FORMAT = "nasbench-rec site 1"
DOWNLOADS = (
    ("downloads/leaderboard.csv", "every number of the leaderboard in full"),
    ("downloads/leaderboard.md", "the tables as Markdown"),
    ("downloads/leaderboard.tex", "the tables as LaTeX (booktabs)"),
    ("downloads/records.csv", "a row per record that counts"),
    ("downloads/auc-over-bytes.csv", "the points of the figures"),
)


def write_site(content: SiteContent, out: Path) -> Path:
    """Write the site into folder `out`, and return its first page.

    Each file appears whole or not at all, the first page last; files of an earlier site there that this one does not
    have are removed, and nothing else is. Equal records give equal bytes. `DataError` if the records are not fit for
    it, `StoreError` where `out` cannot be written.
    """
    files = site_files(content)
    before = _written_before(out)
    for folder, part in _by_folder(files):
        write_files(out / folder, part)
    _remove(out, before - files.keys())
    return out / "index.html"


def site_files(content: SiteContent) -> dict[str, bytes]:
    """Return every file of the site by its path, the first page last. `DataError` if the records are not fit."""
    plans = stored_plans(content.ablations) if content.ablations is not None else []
    claims = stored_claims(content.claims) if content.claims is not None else []
    records = site_records(content.records, content.store, _planned(plans))
    frame = leaderboard_frame(records.frame)
    points = auc_over_bytes_frame(records.frame, content.levels)
    evidence = Evidence(records.raw, records.full, content.truth, levels=content.levels)
    links = _links(records.frame)
    parts = {"Studies": content.studies, "Ablations": plans, "Claims": claims}
    pages = Pages(
        one_line(content.title), _source(records), _sections([name for name in parts if parts[name]])
    )
    cards: dict[str, list[Card]] = {}
    cards["Studies"], studies = study_pages(pages, content.studies)
    cards["Ablations"], ablations = ablation_pages(pages, plans, records.whole, links)
    cards["Claims"], verdicts = claim_pages(pages, claims, links)
    files = {name: encoded(asset(name)) for name in ASSETS}
    files |= _downloads(frame, points, records, content)
    files |= dataset_pages(pages, frame, points, evidence, content) | method_pages(pages, frame, content)
    files |= record_pages(pages, frame, records, content) | studies | ablations | verdicts
    across = more_figures(evidence, content.across, "") if frame["dataset"].nunique() > 1 else []
    files |= {name: data for figure in across for name, data in figure.files.items()}
    first = index_page(pages, frame, content, cards, across, records.replaced, DOWNLOADS)
    return files | {MANIFEST: _manifest([*files, MANIFEST, "index.html"]), "index.html": first}


def _planned(plans: Sequence[StoredPlan]) -> set[str]:
    """Return the keys of the records that ablations need."""
    return {unit.key for stored in plans if stored.plan is not None for unit in stored.plan.units}


def _source(records: SiteRecords) -> str:
    started = [str(excerpt.get("started") or "") for excerpt in records.excerpts.values()]
    newest = f", the newest begun at {one_line(max(started), 40)}" if any(started) else ""
    return f"{plural(len(records.frame), 'record')}{newest}."


def _sections(parts: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return key, name and path of each part of the site; `parts`: those that not every site has."""
    every = {"leaderboard": "Leaderboard", "datasets": "Data sets", "methods": "Methods"}
    every |= {name.lower(): name for name in parts} | {"reading": "How to read"}
    return [(key, text, f"index.html#{key}") for key, text in every.items()]


def _links(frame: pd.DataFrame) -> dict[str, str]:
    """Return where each record stands on the site, by its key."""
    places = frame[["key", "dataset", "backbone", "label"]].itertuples(index=False, name=None)
    return {key: f"{records_page(*place)}#{anchor(key)}" for key, *place in places}


def _downloads(
    frame: pd.DataFrame, points: pd.DataFrame, records: SiteRecords, content: SiteContent
) -> dict[str, bytes]:
    notes = content.explanations
    contents = (
        _writers.csv(frame),
        _writers.markdown(frame, content.title, notes),
        _writers.latex(frame, content.title),
        _writers.csv(records.frame),
        _writers.csv(points),
    )
    return {path: data for (path, _), data in zip(DOWNLOADS, contents, strict=True)}


def _manifest(names: Sequence[str]) -> bytes:
    return encoded(json.dumps({"format": FORMAT, "files": sorted(names)}, indent=0) + "\n")


def _by_folder(files: Mapping[str, bytes]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Iterate over folders with their files by name: what pages lead to comes before the first page."""
    folders: dict[str, dict[str, bytes]] = {}
    for path, data in files.items():
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, {})[name] = data
    yield from sorted(folders.items(), key=lambda item: (item[0] == "", item[0]))


def _written_before(out: Path) -> set[str]:
    """Return the files that the site written there before says it has; none where there is no such site."""
    try:
        found: Any = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        known = found["files"] if found["format"] == FORMAT else []
        return {str(name) for name in known}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _remove(out: Path, names: set[str]) -> None:
    """Remove files of an earlier site; only such as lie in its folder."""
    root = out.resolve()
    for path in (out / name for name in sorted(names)):
        if root in path.resolve().parents and path.is_file() and not path.is_symlink():
            try:
                path.unlink()
            except OSError as error:
                raise StoreError(f"{path}: cannot be removed ({error.strerror}).") from None
