"""The site of a store: its pages, its links, what hostile names do to it, and how it behaves in Chromium."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urldefrag
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from nasbench_rec.reports import leaderboard_frame
from nasbench_rec.reports._site_ablations import ablation_path
from nasbench_rec.reports._site_claims import stored_claims
from nasbench_rec.reports._site_columns import side_of_zero, split
from nasbench_rec.reports._site_figures import MOST
from nasbench_rec.reports._site_names import dataset_page, method_of, method_page, records_page, slug
from nasbench_rec.reports._site_records import excerpt, site_records
from nasbench_rec.reports._site_render import asset, prose
from nasbench_rec.reports._site_table import Cell, Head, Line, SiteTable, embedded
from nasbench_rec.reports._study_rows import health_words
from nasbench_rec.reports._text import storable
from nasbench_rec.reports.ablation import write_ablation
from nasbench_rec.reports.site import About, SiteContent, SiteStudy, site_files, write_site
from nasbench_rec.reports.study import StudyFrames

from nasbench_rec.errors import DataError, StoreError

SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    SCRIPT,
    "\"><img src=x onerror='alert(2)'>",
    "../../x",
    "CON",
    "long" * 125,
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
    "Z\u0351\u036b\u0343\u036a\u0302A\u0334\u0335\u031c",
    "two\nlines\r\nand a tab\t",
    "{{ 7 * 7 }} </title> javascript:alert(3)",
    "&lt;b&gt; \ud800",
)


def raw(label: str, seed: int, auc: float | None, **values: Any) -> dict[str, Any]:
    """Return a record as a store holds it; without AUC a failure."""
    method = values.pop("method", label.partition(" @ ")[0])
    ratio = values.pop("ratio", None)
    size = values.pop("size", 344_448 * (ratio or 1))
    place = {"dataset": "planted", "backbone": "deepfm", "label": label, "method": method}
    unit = {
        "data": {"name": values.pop("data", "planted"), "source": "", "config": {}},
        "method": {"spec": method, "preset": "", "config": {}},
        "protocol": {"dim": 16, "epochs": 2},
        "seeds": {"init": seed, "split": 0, "search": seed, "order": seed},
        "ratio": ratio,
    }
    found = {
        "key": slug(str(values), label, str(seed)).rpartition("-")[2] + f"{seed}",
        "status": "ok" if auc is not None else "failed",
        "error": None,
        "started": f"2026-01-01T00:00:{seed:02d}Z",
        "unit": unit,
        "data_dir": "/somebody/private",
        **place,
    }
    if auc is not None:
        found["scores"] = {"test_auc": auc, "test_logloss": 1 - auc, "valid_auc": auc, "valid_logloss": 0.4}
        found["ledger"] = {"embedding_bytes": size, "embedding_ratio": ratio or 1.0, "total_bytes": size + 9}
        found |= {"search_seconds": 2.0 * seed, "retrain_seconds": 3.0, "traceback": "never shown"}
    return found | values


def plain_records() -> list[dict[str, Any]]:
    """Two backbones, four rows each: one clearly ahead, one failed."""
    found = []
    for backbone in ("deepfm", "fm"):
        for seed in range(3):
            shared = 0.001 * seed
            for label, ratio, gain in (
                ("fixed", None, 0.0), ("pep @ 1/2", 0.5, 0.010), ("random @ 1/2", 0.5, -0.004),
                ("pep @ 1/10", 0.1, -0.002),
            ):  # fmt: skip
                auc = 0.8 + shared + gain + 0.0001 * (seed == 1) * (gain != 0)
                found.append(raw(label, seed, auc, ratio=ratio, backbone=backbone))
            error = {"error": "RuntimeError: out of memory\n  at step 3"}
            found.append(raw("autodim", seed, None, backbone=backbone, **error))
    return found


def hostile_records() -> list[dict[str, Any]]:
    """Every hostile text as data set, backbone, method and label, as error, and as a setting."""
    found = []
    for i, text in enumerate(HOSTILE):
        for seed in range(2):
            place = {"dataset": text, "backbone": f"{text} {i}"}
            found.append(raw("fixed", seed, 0.8 + 0.001 * seed, **place))
            found.append(raw(f"{text} @ 1/2", seed, 0.79 + 0.002 * seed, ratio=0.5, method=text, **place))
            found.append(raw(f"lost {i}", seed, None, error=f"ValueError: {text}", **place))
    return found


def study(title: str = "A study", question: str = "Which?") -> StudyFrames:
    """Return a small study with one parameter."""
    trials = pd.DataFrame(
        {
            "number": range(4), "state": "complete", "reason": "", "seconds": [60.0, 50.0, 70.0, 80.0],
            "default": [True, False, False, False], "lost": False, "best": [False, True, False, False],
            "valid_auc": [0.70, 0.72, 0.71, 0.69], "param.tau": [0.1, 0.2, 0.3, 0.4],
        }
    )  # fmt: skip
    units = trials[["number", "state", "valid_auc", "param.tau"]].assign(
        dataset="planted", backbone="deepfm", seed=0, split_seed=0
    )
    return StudyFrames(
        name="look", title=title, question=question, engine="optuna", trials=trials, units=units,
        curves=pd.DataFrame(columns=["number", "state", "step", "value"]),
        importances=pd.DataFrame(columns=["objective", "param", "importance"]),
        space=[{"name": "tau", "type": "float", "low": 0.1, "high": 0.4, "log": False, "step": None,
                "choices": None, "when": None}],
        objectives=[{"name": "valid_auc", "direction": "maximize"}],
        savings={"computed_seconds": 10.0, "reused_seconds": 5.0, "search": [2, 2]},
    )  # fmt: skip


def broken() -> Any:
    raise StoreError("study lost: its file cannot be read")


def verdicts(keys: list[str], text: str = "") -> dict[str, Any]:
    """Return a `verdicts.json`: a claim that is supported, and one that cannot be tested. `text`: in every name."""
    points = [
        {
            "split_seed": 0,
            "seed": i,
            "method": 0.81,
            "other": 0.8,
            "difference": 0.01,
            "keys": [key, "unknown"],
        }
        for i, key in enumerate(keys)
    ]
    compared = {
        **{"claim": "a", "dataset": f"planted{text}", "backbone": "deepfm", "ratio": 0.5, "against": f"fixed{text}"},
        **{"scope": "other data", "outcome": "supported", "reason": "the interval excludes zero"},
        **{"mean": 0.01, "low": 0.008, "high": 0.012, "interval": "sign-flip", "p": 0.03, "p_corrected": 0.03},
        **{"p_smallest": None, "p_smallest_corrected": None, "family": "a", "family_size": 1, "n": len(keys)},
        **{"planned": 10, "failed": 0, "absent": 0, "silent": 0, "minimum_detectable": 0.002},
        **{"claimed_within": True, "seeds_needed": None, "points": points},
        "controls": [
            {"name": f"without gates{text}", "state": "does worse", "mean": 0.02, "low": 0.01, "high": 0.03, "n": 9}
        ],
    }  # fmt: skip
    known = {"explained_by": [], "unchecked": [], "seeds_needed": None, "seeds_asked": 8, "seeds_written": 10}
    claim = {
        "part": "claim",
        **{"direction": "higher", "interest": 0.005, "metric": "auc"},
        "kind": "difference",
        "source": f"table 1{text}",
        "reading": text,
        "claimed": 0.0104,
    }
    return {
        **{
            "name": "paper",
            "title": f"What the paper says{text}",
            "paper": f"A paper{text}",
            "source": "arXiv",
        },
        **{"alpha": 0.05, "sha256": "ab" * 32, "frozen": "2026-01-01T00:00:00Z", "units": 20, "recorded": 18},
        **{
            "failed": 1,
            "before_freezing": 2,
            "checks": [{"time": "t", "seeds": 8, "recorded": 18, "units": 20}],
        },
        "verdicts": [
            {
                **known,
                "outcome": "supported",
                "reason": "the interval excludes zero",
                "scope": "other data",
                "measured": "test AUC",
                "claim": claim | {"id": f"a{text}", "sentence": f"Better {SCRIPT}"},
                "comparisons": [compared],
            },
            {
                **known,
                "outcome": "not testable here",
                "reason": f"no data{text}",
                "scope": "",
                "measured": "bytes",
                "claim": claim | {"id": "b", "sentence": "Smaller"},
                "comparisons": [],
            },
        ],
    }


@pytest.fixture(scope="module")
def claims_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Claim sets: as they are written, of another form, unreadable, and frozen without any verdict."""
    root = tmp_path_factory.mktemp("claims")
    keys = [r["key"] for r in plain_records() if (r["label"], r["backbone"]) == ("pep @ 1/2", "deepfm")]
    odd = verdicts(keys) | {"verdicts": [{"claim": {"id": "x"}}]}
    texts = {
        "paper/verdicts.json": json.dumps(verdicts(keys)),
        "paper/claims.json": json.dumps({"claims": [{"id": "a"}]}),
        "odd/verdicts.json": json.dumps(odd),
        "broken/verdicts.json": "{",
        "frozen/claims.json": json.dumps({"format": 1}),
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


@dataclass(frozen=True)
class Bar:
    name: str
    variant: str
    value: str
    versus: str = ""
    at_least: float | None = None
    at_most: float | None = None
    hold_in: int = 0


def planned(records: list[dict[str, Any]], **variants: str) -> pd.DataFrame:
    """Return a plan over these records: each variant's units are the records of a label."""
    rows = [
        {
            **{
                "variant": variant,
                "factor": "",
                "value": "",
                "best_of": "",
                "dataset": storable(r["dataset"]),
            },
            **{
                "backbone": storable(r["backbone"]),
                "seed": r["unit"]["seeds"]["init"],
                "split_seed": 0,
                "key": r["key"],
            },
        }
        for variant, label in variants.items()
        for r in records
        if r["label"] == label
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def ablations_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ablations: as they are written, of a version that kept no plan, unreadable."""
    root = tmp_path_factory.mktemp("ablations")
    records = plain_records()
    plan = planned(records, default="fixed", half="pep @ 1/2", lost="autodim")
    write_ablation(
        plan, {r["key"]: r for r in records}, name="widths", title=f"Widths {SCRIPT}", question="Which width?",
        reference="half", figures=["factor", "centroids"], out=root / "widths",
        bars=[Bar("half is better", "half", "scores.test_auc", "default", at_least=0.005)],
    )  # fmt: skip
    for name, text in {
        "old/old.csv": "variant\n",
        "broken/broken.json": "{",
        "other/notes.txt": "kept",
    }.items():
        (root / name).parent.mkdir()
        (root / name).write_text(text)
    return root


@pytest.fixture(scope="module")
def plain(ablations_folder: Path, claims_folder: Path) -> dict[str, bytes]:
    """The files of a site with all kinds of pages."""
    return site_files(content(ablations_folder, claims_folder))


def content(ablations: Path, claims: Path) -> SiteContent:
    about = About(
        "Learnable thresholds", "Liu et al., ICLR 2021", [("decides", "`entries`")], ["an odd `lr`"]
    )
    studies = [SiteStudy("look", lambda: (study(), ())), SiteStudy("lost", broken)]
    return SiteContent(
        plain_records(), "my store", methods={"pep": about}, datasets={"planted": About("Made up")},
        studies=studies, ablations=ablations, claims=claims,
    )  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a site whose every name is an attack."""
    names = dict.fromkeys(HOSTILE, About(SCRIPT, SCRIPT, [(SCRIPT, f"`{SCRIPT}`")], [SCRIPT]))
    studies = [SiteStudy(text, lambda text=text: (study(text, text), ())) for text in HOSTILE[:3]]
    root, records = tmp_path_factory.mktemp("hostile"), hostile_records()
    for i, text in enumerate(map(storable, HOSTILE)):
        name = f"<b {i}>&lt;"
        own = [r for r in records if r["dataset"] == HOSTILE[i]]
        for record in own:
            record["health"] = [{"signature": text, "evidence": text, "advice": text}]
        write_ablation(
            planned(own, **{text: "fixed", f"{text} lost": f"lost {i}"}), {r["key"]: r for r in own}, name=name,
            title=text, question=text, reference=text, figures=["factor", "auc-over-bytes"],
            bars=[Bar(text, text, "scores.test_auc", at_least=0.0)], out=root / "ablations" / name,
        )  # fmt: skip
        (root / "claims" / name).mkdir(parents=True)
        (root / "claims" / name / "verdicts.json").write_text(json.dumps(verdicts(["x"], text)))
    return site_files(
        SiteContent(
            records,
            f"store; rm {SCRIPT}",
            SCRIPT,
            names,
            names,
            studies=studies,
            ablations=root / "ablations",
            claims=root / "claims",
        )  # fmt: skip
    )


class Reader(HTMLParser):
    """Notes elements and attributes, ids, links and the text of the body."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style", "title"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        self.text += "" if self._inside else data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def ids(self) -> list[str]:
        return [str(a["id"]) for _, a in self.tags if "id" in a]


def html_of(files: dict[str, bytes]) -> Iterator[tuple[str, Reader]]:
    for path, data in files.items():
        if path.endswith(".html"):
            yield path, Reader(data)


def resolved(page: str, href: str) -> str:
    """Return the path below the site that a link of a page leads to."""
    parts: list[str] = []
    for part in (PurePosixPath(page).parent / href).parts:
        if part == "..":
            assert parts, f"{page}: {href} leads out of the site"
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_every_link_leads_somewhere_inside(which: str, request: pytest.FixtureRequest) -> None:
    files = request.getfixturevalue(which)
    pages = dict(html_of(files))
    for path, page in pages.items():
        links = [a["href"] for a in (*page.all("a"), *page.all("link")) if a.get("href") != "data:,"]
        for link in (*links, *(a["src"] for a in page.all("script") if "src" in a)):
            target, fragment = urldefrag(str(link))
            assert ":" not in str(link), f"{path}: {link}"
            where = resolved(path, target) if target else path
            assert where in files, f"{path}: {link}"
            assert not fragment or fragment in pages[where].ids, f"{path}: {link}"


@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_nothing_on_a_page_runs_or_loads_but_our_script(which: str, request: pytest.FixtureRequest) -> None:
    for path, page in html_of(request.getfixturevalue(which)):
        for script in page.all("script"):
            assert script.get("type") == "application/json" or str(script["src"]).endswith("site.js"), path
        names = {name for _, attributes in page.tags for name in attributes}
        assert not [name for name in names if name.startswith("on")], path
        assert not {tag for tag, _ in page.tags} & {"iframe", "object", "embed", "base", "img", "video"}, path
        (policy,) = [
            a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
        ]
        assert str(policy).startswith("default-src 'none'") and "http" not in str(policy)


@pytest.mark.parametrize("which", ["plain", "hostile"])
def test_pages_can_be_found_one_s_way_in(which: str, request: pytest.FixtureRequest) -> None:
    for path, page in html_of(request.getfixturevalue(which)):
        assert page.all("html")[0]["lang"] == "en"
        assert len(page.all("title")) == len(page.all("h1")) == len(page.all("main")) == 1, path
        assert page.all("a")[0] == {"class": "skip", "href": "#main"}
        assert len(page.ids) == len(set(page.ids)), f"{path}: an id is there twice"
        named = {name for _, a in page.tags for name in str(a.get("aria-labelledby") or "").split()}
        assert named <= set(page.ids), path
        assert all(th.get("scope") for th in page.all("th")), path


def test_files_have_harmless_names(hostile: dict[str, bytes]) -> None:
    for path in hostile:
        assert re.fullmatch(r"([a-z]+/)?[a-z0-9-]+\.(html|json|csv|svg|md|tex|css|js)", path), path
        assert len(path) < 120
    assert len({path.lower() for path in hostile}) == len(hostile), "some file systems fold case"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name: str, hostile: dict[str, bytes]) -> None:
    name = storable(name)
    text = " ".join(Reader(hostile[dataset_page(name)]).text.split())
    first = " ".join(re.sub(r"\u202e", " ", name.split("\n")[0]).split())
    assert first[:60] in text


def test_hostile_names_are_no_markup_in_anything_that_a_browser_shows(hostile: dict[str, bytes]) -> None:
    shown = [data for path, data in hostile.items() if path.endswith((".html", ".svg", ".md"))]
    assert not [data for data in shown if b"<script>alert" in data or b"<img src=x" in data]


def test_names_that_look_alike_have_pages_of_their_own() -> None:
    names = ["a b", "a-b", "A b", "a/b", "a\0b", "", " ", *HOSTILE]
    assert len({slug(name) for name in names}) == len(names)
    assert slug("a", "b") != slug("a b")
    assert slug("CON") != "con"
    assert method_of("ihas/robust") == "ihas" and method_of("../../x") == "../../x"
    assert method_of("mine.py:Class") == "mine.py:Class"


def test_embedded_json_cannot_end_its_element() -> None:
    value = {"a": ["</script><!--", "&amp;", "\u2028\u05d0\ud800", 1.5, None]}
    text = str(embedded(value))
    assert not set("<>&") & set(text) and text.isascii()
    assert json.loads(text) == value


def test_values_to_sort_by_are_null_where_nothing_is_known() -> None:
    cells = [Cell("", value=float("nan")), Cell("a", value="a"), Cell("2", value=2)]
    table = SiteTable("t", "t", [Head("a")] * 3, [Line(cells, facets=("x",))])
    assert json.loads(table.data)["rows"] == [[None, "a", 2]]


def test_prose_is_escaped_and_shows_code() -> None:
    assert prose("a `<b>` & c") == "a <code>&lt;b&gt;</code> &amp; c"
    assert prose("one ` only") == "one ` only"


def board_of(page: bytes) -> tuple[dict[str, Any], list[str]]:
    """Return the first table's data and the labels of its rows."""
    text = page.decode()
    found = re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1]), re.findall(r'<th scope="row" class="t"><a [^>]*>([^<]*)', text)


def test_the_leaderboard_shows_the_rows_of_the_tables(plain: dict[str, bytes]) -> None:
    frame = leaderboard_frame(site_records(plain_records(), "x").frame)
    data, labels = board_of(plain["index.html"])
    assert labels[: len(frame)] == frame["label"].tolist()
    assert [row[0] for row in data["rows"]] == frame["label"].tolist()
    shown = [row[5] for row in data["rows"]]
    assert shown == [None if np.isnan(v) else v for v in frame["test_auc"]]
    assert data["facets"][1][:3] == ["planted", "deepfm", "1/2"]


def test_best_is_marked_where_the_statistics_allow_it(plain: dict[str, bytes]) -> None:
    frame = leaderboard_frame(site_records(plain_records(), "x").frame)
    assert frame["best"].sum() == 2
    assert plain["index.html"].count(b'<span class="badge best">best</span>') == 2
    even = [r for r in plain_records() if not r["label"].startswith("pep @ 1/2") and r["backbone"] == "fm"]
    level = site_files(SiteContent([r for r in even if r["label"] in ("fixed", "pep @ 1/10")][:2]))
    assert b"badge best" not in level["index.html"], "two units show no lead"


def test_each_number_leads_to_its_records_and_they_to_a_command(plain: dict[str, bytes]) -> None:
    row = Reader(plain["index.html"].split(b"<tbody>")[1].split(b"</tr>")[1])
    path = records_page("planted", "deepfm", "pep @ 1/2")
    links = [a for a in row.all("a") if a["href"] == path]
    assert len(links) >= 6
    assert [a for a in links if "tabindex" not in a][-1] is not None
    assert sum("tabindex" not in a for a in links) == 2, "seeds and test AUC are stops of the keyboard"
    page = plain[path].decode()
    units = [r for r in plain_records() if r["label"] == "pep @ 1/2" and r["backbone"] == "deepfm"]
    for unit in units:
        assert f"nasbench-rec verify {unit['key']} --store &#39;my store&#39;" in page
    kept = json.loads(plain[path.replace(".html", ".json")])
    assert [r["key"] for r in kept] == [u["key"] for u in units]
    assert [r["scores"] for r in kept] == [u["scores"] for u in units]


def test_failures_are_told_on_every_page(plain: dict[str, bytes]) -> None:
    for path in ("index.html", dataset_page("planted"), records_page("planted", "fm", "autodim")):
        assert b"out of memory" in plain[path], path


def test_a_record_is_shown_without_paths_of_the_machine() -> None:
    shown = json.dumps(excerpt(raw("fixed", 0, 0.8)))
    assert "private" not in shown and "never shown" not in shown


def test_what_units_of_a_row_do_not_share_is_told_each_way_once() -> None:
    records = plain_records()
    for seed, record in enumerate(r for r in records if (r["label"], r["backbone"]) == ("pep @ 1/2", "fm")):
        record["environment"] = {"commit": "later" if seed == 2 else "early", "cores": 2}
    page = Reader(site_files(SiteContent(records))[records_page("planted", "fm", "pep @ 1/2")]).text
    assert "early; or later" in page and page.count("2 cores\n") == 1


def test_a_table_called_as_a_known_data_set_is_not_taken_for_it() -> None:
    known = {"planted": About("Made up", facts=[("licence", "ours")])}
    for data, told in (("planted", True), ("table:planted", False)):
        records = [raw("fixed", seed, 0.8, data=data) for seed in range(2)]
        page = site_files(SiteContent(records, datasets=known))[dataset_page("planted")]
        assert (b"Made up" in page) == told


def test_a_figure_of_many_differences_says_which_rows_it_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasbench_rec.reports._site_pages.MOST", 2)
    monkeypatch.setattr("nasbench_rec.reports._site_figures.MOST", 2)
    files = site_files(SiteContent(plain_records()))
    page = files[method_page("pep")]
    assert MOST == 40 and b"Drawn are the first 2 of 4 rows; the data have all." in page
    assert len(files[f"methods/{slug('differences', 'pep')}.csv"].splitlines()) == 5


def test_a_number_is_parted_from_what_follows_it() -> None:
    for text, parts in {
        "+.0012 [+.0003, +.0021] t, 3": ("+.0012", "[+.0003, +.0021] t, 3"),
        ".7812 ±.0004": (".7812", "±.0004"),
        "3 (1 failed)": ("3", "(1 failed)"),
        "+.0100 equal, 3": ("+.0100", "equal, 3"),
        "+.0100 1 pair": ("+.0100", "1 pair"),
        "1.50 KiB": ("1.50 KiB", ""),
        "10 of 10": ("10 of 10", ""),
        "": ("", ""),
    }.items():
        assert split(text) == parts


@pytest.mark.parametrize(
    ("low", "high", "kind", "side"),
    [
        *((0.1, 0.2, "t", 1), (-0.2, -0.1, "BCa", -1), (0.1, 0.2, "sign-flip", 1), (-0.1, 0.1, "t", 0)),
        *((0.1, 0.1, "constant", 0), (float("nan"), float("nan"), "none", 0)),
    ],
)
def test_colour_needs_an_interval_on_one_side_of_zero(low: float, high: float, kind: str, side: int) -> None:
    row = SimpleNamespace(auc_difference_low=low, auc_difference_high=high, auc_difference_interval=kind)
    assert side_of_zero(row, "auc_difference") == side


def test_figures_stand_beside_their_numbers(plain: dict[str, bytes]) -> None:
    drawings = [path for path in plain if path.endswith(".svg")]
    folders = [path.partition("/")[0] for path in drawings]
    assert folders.count("datasets") == 2 * 4 and folders.count("methods") == 2 and "studies" in folders
    for path in drawings:
        ElementTree.fromstring(plain[path])
        assert path.replace(".svg", ".csv") in plain
    page = plain[dataset_page("planted")].decode()
    assert page.count("<svg") == 2 * 4 and "var(--ink)" in page and "#1f2328" not in page


def test_a_study_has_its_page_and_one_that_is_lost_says_why(plain: dict[str, bytes]) -> None:
    page = Reader(plain[f"studies/{slug('look')}.html"]).text
    assert "A study" in page and "Which?" in page and "highest validation AUC" in page
    assert "its file cannot be read" in Reader(plain["index.html"]).text
    data, _ = board_of(plain[f"studies/{slug('look')}.html"].split(b'id="trials"')[1])
    assert [row[0] for row in data["rows"]] == [1, 2, 0, 3], "the best first"


def test_a_claim_has_its_verdict_comparisons_controls_and_pairs(plain: dict[str, bytes]) -> None:
    page = Reader(plain[f"claims/{slug('paper')}.html"])
    for words in (
        *(f"Better {SCRIPT}", "other data", "no data", "2 claims: 1 supported, 1 not testable here."),
        *("2 of these records are older than the frozen claims", "8 instead of the 10", "a look"),
        *("without gates", "does worse", "p, Holm", "What the paper says"),
    ):
        assert words.lower() in page.text.lower(), words
    records = records_page("planted", "deepfm", "pep @ 1/2")
    links = [a["href"] for a in page.all("a") if str(a["href"]).startswith(f"../{records}#")]
    assert len(set(links)) == 3, "each pair leads to the record of the method; the others are not on the site"
    names = {path for path in plain if path.startswith(f"claims/{slug('paper')}")}
    assert {path.rpartition(".")[2] for path in names} == {"html", "csv", "json", "svg"} and len(names) == 7


def test_claims_that_cannot_be_read_say_so(claims_folder: Path, plain: dict[str, bytes]) -> None:
    sets = {found.name: found for found in stored_claims(claims_folder)}
    assert set(sets) == {"paper", "odd", "broken"}, "frozen claims without a verdict have no page"
    assert sets["paper"].found is not None and sets["odd"].found is sets["broken"].found is None
    text = Reader(plain["index.html"]).text
    assert "is not as this version writes it" in text and "holds no verdicts" in text
    assert stored_claims(claims_folder / "nowhere") == []


def test_a_supported_claim_that_a_control_explains_is_not_green(tmp_path: Path) -> None:
    found = verdicts(["x"])
    found["verdicts"][0]["explained_by"] = ["without gates"]
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "verdicts.json").write_text(json.dumps(found))
    page = site_files(SiteContent(plain_records(), claims=tmp_path))[f"claims/{slug('paper')}.html"]
    assert b'class="unsure">supported, but explained by a control: without gates' in page
    assert b'class="good">supported' not in page


def test_a_store_without_studies_and_claims_has_no_such_parts() -> None:
    files = site_files(SiteContent(plain_records()))
    assert {path.partition("/")[0] for path in files if "/" in path} == {
        "datasets",
        "methods",
        "records",
        "downloads",
    }
    for title in (b"Studies", b"Ablations", b"Claims"):
        assert title not in files["index.html"]


def test_of_two_records_in_one_place_the_later_counts_and_the_site_says_so() -> None:
    old = raw("pep @ 1/2", 0, 0.1, ratio=0.5, key="older")
    files = site_files(SiteContent([old, *plain_records()]))
    assert "older" in Reader(files["index.html"]).text
    assert (
        board_of(files["index.html"])[0]["rows"]
        == board_of(site_files(SiteContent(plain_records()))["index.html"])[0]["rows"]
    )


def test_equal_records_give_equal_bytes(
    plain: dict[str, bytes], ablations_folder: Path, claims_folder: Path
) -> None:
    assert site_files(content(ablations_folder, claims_folder)) == plain


def test_data_sets_that_differ_in_their_seed_alone_count_as_one() -> None:
    records = [
        raw(label, seed, 0.8 + gain + 0.001 * seed, ratio=ratio, dataset=f"planted (seed={seed})")
        for seed in range(1, 4)
        for label, ratio, gain in (("fixed", None, 0.0), ("pep @ 1/2", 0.5, 0.01 + 1e-4 * seed))
    ]
    files = site_files(SiteContent(records, datasets={"planted": About("Made up")}))
    page = Reader(files[dataset_page("planted (seed=*)")]).text
    assert "Made up" in page and "pep @ 1/2 is ahead by more than seed noise" in page
    assert [path for path in files if path.startswith("datasets/") and path.endswith(".html")] == [
        dataset_page("planted (seed=*)")
    ]
    assert "the data's seed is part of the pair" in Reader(files["index.html"]).text


def test_no_records_are_refused() -> None:
    with pytest.raises(DataError, match="my store has no records to report; run"):
        site_files(SiteContent([], "my store"))


def test_a_site_replaces_its_own_files_and_no_others(tmp_path: Path) -> None:
    out = tmp_path / "site"
    index = write_site(SiteContent(plain_records()), out)
    assert index == out / "index.html" and index.is_file()
    gone = out / records_page("planted", "fm", "pep @ 1/2")
    assert gone.is_file()
    (out / "mine.txt").write_text("kept")
    (tmp_path / "outside.txt").write_text("kept")
    manifest = json.loads((out / "site.json").read_text())
    manifest["files"] += ["../outside.txt", str(tmp_path / "outside.txt")]
    (out / "site.json").write_text(json.dumps(manifest))
    write_site(SiteContent([r for r in plain_records() if r["backbone"] == "deepfm"]), out)
    assert not gone.exists()
    assert (out / "mine.txt").read_text() == (tmp_path / "outside.txt").read_text() == "kept"
    assert not list(out.rglob(".*")), "no drafts are left"


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        write_site(SiteContent(plain_records()), tmp_path / "site")


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_is_readable_on_its_ground_in_both_themes() -> None:
    pairs = dict(re.findall(r"--(\w+): light-dark\((#\w{6}, #\w{6})\)", asset("site.css")))
    for theme in (0, 1):
        colours = {name: pair.split(", ")[theme] for name, pair in pairs.items()}
        for ground in ("page", "band", "raised"):
            for text in ("ink", "muted", "link", "good", "bad", "unsure", "focus"):
                low, high = sorted((luminance(colours[ground]), luminance(colours[text])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (theme, ground, text)


def test_style_and_script_ask_nobody_for_anything() -> None:
    for name in ("site.css", "site.js"):
        assert not re.search(r"url\(|@import|https?:|fetch|XMLHttp|eval|innerHTML|import\(", asset(name)), (
            name
        )
    assert len(asset("site.js").splitlines()) < 150


def test_a_site_is_made_without_torch_and_alike_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "records.json").write_text(json.dumps(plain_records()))
    code = f"""
import hashlib, json, sys
from pathlib import Path
from nasbench_rec.reports.site import SiteContent, site_files
files = site_files(SiteContent(json.loads(Path({str(tmp_path / "records.json")!r}).read_text())))
print(json.dumps([list(sys.modules), {{k: hashlib.sha256(v).hexdigest() for k, v in files.items()}}]))
"""
    found = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert not set(found[0][0]) & {"torch", "ray", "sklearn", "optuna", "polars"}
    assert found[0][1] == found[1][1]


def test_signs_of_failure_stand_in_one_order() -> None:
    frames = study()
    frames.trials["health"] = ["c, b, a", "b, c, a", "d, c, b, a", "d, c, b"]
    assert health_words(frames).endswith("b in 4, c in 4, a in 3, d in 2.")


# In Chromium. Nothing can leave, as every host resolves to nothing and the proxy is a port that nobody listens on; and
# the browser itself lists what was asked for.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = Path(__file__).parents[2] / "benchmarks" / "_chromium.py"
    spec = importlib.util.spec_from_file_location("site_chromium", path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.chromium_path()
    if found is None:
        pytest.skip("no Chromium is installed: the site is not tested in a browser")
    with module.chromium(found) as page:
        yield page


@pytest.fixture
def opened(
    browser: Any, tmp_path_factory: pytest.TempPathFactory, plain: dict[str, bytes], hostile: dict[str, bytes]
) -> Iterator[Callable[..., Any]]:
    """Opens a page of one of the sites in a window; at the end nothing may have left or complained."""
    root = tmp_path_factory.getbasetemp() / "sites"
    script = plain["site.js"].replace(b"const MOST = 400", b"const MOST = 4")
    sites = {"plain": plain, "hostile": hostile, "short": plain | {"site.js": script}}
    browser.requests.clear()
    browser.messages.clear()

    def open_page(
        path: str = "index.html", site: str = "plain", width: int = 1200, dark: bool = False
    ) -> Any:
        if not (root / site).exists():
            for name, data in sites[site].items():
                (root / site / name).parent.mkdir(parents=True, exist_ok=True)
                (root / site / name).write_bytes(data)
        browser.look(width, 800, dark)
        browser.open(root / site / path)
        return browser

    yield open_page
    assert browser.requests and all(url.startswith(("file:", "data:")) for url in browser.requests)
    assert browser.messages == []


LABELS = (
    "[...document.querySelectorAll('#board tbody tr:not([hidden]) th a')].map(link => link.firstChild.data)"
)
HEAD = "document.querySelectorAll('#board thead th')"


def column_of(page: Any, name: str) -> int:
    return page.run(f"[...{HEAD}].findIndex(e => e.innerText.trim() === {json.dumps(name)})")


def values_of(page: Any, column: int) -> list[str]:
    return page.run(
        f"[...document.querySelectorAll('#board tbody tr:not([hidden])')].map(e => e.cells[{column}].innerText"
        ".split('\\n')[0])"
    )


def test_a_click_on_a_head_sorts_and_another_turns_it_round(opened: Callable[..., Any]) -> None:
    page = opened()
    column = column_of(page, "test AUC")
    page.click(f"#board thead th:nth-child({column + 1}) button")
    first = values_of(page, column)
    known = [float(text) for text in first if text != "failed"]
    assert len(known) == 8 and known == sorted(known, reverse=True)
    assert first[-2:] == ["failed", "failed"]
    assert page.run(f"[...{HEAD}].map(e => e.ariaSort)").count("descending") == 1
    page.click(f"#board thead th:nth-child({column + 1}) button")
    turned = values_of(page, column)
    assert turned[-2:] == ["failed", "failed"], "what is unknown comes last either way"
    assert [float(text) for text in turned[:-2]] == sorted(known)
    assert page.run(f"{HEAD}[{column}].ariaSort") == "ascending"


def test_every_column_sorts(opened: Callable[..., Any], plain: dict[str, bytes]) -> None:
    page = opened()
    data, _ = board_of(plain["index.html"])
    page.run("document.querySelectorAll('#board tbody tr').forEach((row, i) => { row.dataset.place = i; })")
    for i, column in enumerate(data["columns"]):
        page.click(f"#board thead th:nth-child({i + 1}) button")
        places = page.run(
            "[...document.querySelectorAll('#board tbody tr')].map(row => Number(row.dataset.place))"
        )
        values = [data["rows"][place][i] for place in places]
        known = [value for value in values if value is not None]
        assert values == known + [None] * (len(values) - len(known))
        assert known == sorted(known, key=counted, reverse=column["descending"]), i


def counted(value: Any) -> Any:
    """Text with its numbers as numbers."""
    return (
        [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", value)] if isinstance(value, str) else value
    )


def test_the_keyboard_alone_sorts(opened: Callable[..., Any]) -> None:
    page = opened()
    page.press("Tab", 9)
    assert page.run("document.activeElement.className") == "skip"
    assert page.run("document.activeElement.getBoundingClientRect().left") == 0, "seen when it has the focus"
    for _ in range(60):
        page.press("Tab", 9)
        if page.run("document.activeElement.matches('#board thead th:first-child button')"):
            break
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter", 13, "\r")
    labels = page.run(LABELS)
    assert labels[:2] == ["autodim", "autodim"] and labels[-1] == "random @ 1/2"
    assert labels[4:8] == ["pep @ 1/2", "pep @ 1/2", "pep @ 1/10", "pep @ 1/10"], "as numbers are counted"


def test_filters_hide_what_was_not_asked_for(opened: Callable[..., Any]) -> None:
    page = opened()
    assert "10 of 10" in page.run("document.querySelector('output').innerText")
    page.run("(s => { s.value = '2'; s.dispatchEvent(new Event('input', {bubbles: true})); })"
             "(document.querySelectorAll('.filters select')[1])")  # fmt: skip
    assert set(values_of(page, column_of(page, "backbone"))) == {"fm"}
    page.click(".filters input")
    page.type("pep 10")
    assert page.run(LABELS) == ["pep @ 1/10"]
    assert "1 of 10" in page.run("document.querySelector('output').innerText")
    page.click(".filters button[type=reset]")
    page.run("new Promise(done => setTimeout(done, 20))")
    assert len(page.run(LABELS)) == 10


def test_of_a_very_long_leaderboard_some_rows_are_shown_until_all_are_asked_for(
    opened: Callable[..., Any],
) -> None:
    button = "document.querySelector('.filters button[type=button]').checkVisibility()"
    assert not opened().run(button)
    page = opened(site="short")
    assert page.run(button)
    assert len(page.run(LABELS)) == 4
    page.click("#board thead th:first-child button")
    assert page.run(LABELS) == ["autodim", "autodim", "fixed", "fixed"], (
        "the first of all, not of those shown"
    )
    assert "10 of 10 rows, the first 4 shown" in page.run("document.querySelector('output').innerText")
    page.click(".filters button[type=button]")
    assert len(page.run(LABELS)) == 10


def test_the_theme_follows_the_system_until_it_is_chosen(opened: Callable[..., Any]) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page = opened(dark=True)
    dark = page.run(ground)
    assert page.run("document.querySelector('#theme').ariaPressed") == "true"
    page.click("#theme")
    light = page.run(ground)
    assert dark != light and page.run("document.querySelector('#theme').ariaPressed") == "false"
    assert opened(dark=True).run(ground) == light, "remembered"
    page.run("localStorage.clear()")
    assert opened(dark=False).run(ground) == light


@pytest.mark.parametrize("site", ["plain", "hostile"])
def test_no_page_is_wider_than_a_phone(
    site: str, opened: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    for path, _ in html_of(request.getfixturevalue(site)):
        page = opened(path, site, width=360)
        assert page.run("document.documentElement.scrollWidth") <= 360, path


def test_a_number_of_an_ablation_leads_to_its_units_and_on_to_the_open_record(
    opened: Callable[..., Any],
) -> None:
    page = opened(ablation_path("widths"))
    page.click("#variants-1 tbody tr:nth-child(2) td a")
    assert page.run("document.querySelector('tr:target th').innerText") == "half"
    page.run("new Promise(done => setTimeout(done, 1000))")  # it scrolls smoothly
    place = page.run("(r => [r.top, r.bottom])(document.querySelector('tr:target').getBoundingClientRect())")
    assert 0 <= place[0] < place[1] <= page.run("innerHeight")
    target, fragment = urldefrag(page.run("document.querySelector('tr:target td a').getAttribute('href')"))
    page.open(Path(page.run("location.pathname")).parent / target, f"#{fragment}")
    assert page.run("document.querySelectorAll('details[open]').length") == 1
    record = json.loads(page.run("document.querySelector('pre:target').innerText"))
    assert record["label"] == "pep @ 1/2" and f"r-{record['key']}" == fragment


def test_tables_of_ablations_and_studies_sort_the_best_first(opened: Callable[..., Any]) -> None:
    for path, table, best in (
        (ablation_path("widths"), "variants-1", "half"),
        (f"studies/{slug('look')}.html", "trials", "1 (best)"),
    ):
        page = opened(path)
        heads = page.run(f"[...document.querySelectorAll('#{table} thead th')].map(e => e.innerText.trim())")
        column = next(i for i, head in enumerate(heads, 1) if head.endswith("AUC"))
        page.click(f"#{table} thead th:nth-child({column}) button")
        assert page.run(f"document.querySelector('#{table} tbody th').innerText") == best
        assert (
            page.run(f"document.querySelectorAll('#{table} thead th')[{column - 1}].ariaSort") == "descending"
        )
        page.click(f"#{table} thead th:nth-child({column}) button")
        assert page.run(f"document.querySelector('#{table} tbody th').innerText") != best


def test_the_keyboard_stops_once_in_a_row_whose_links_are_one(opened: Callable[..., Any]) -> None:
    page = opened(ablation_path("widths"))
    stops = "row => row.querySelectorAll('a:not([tabindex])').length"
    assert set(page.run(f"[...document.querySelectorAll('#variants-1 tbody tr')].map({stops})")) == {1}


def test_hostile_names_are_seen_and_do_nothing(opened: Callable[..., Any]) -> None:
    page = opened("index.html", "hostile")
    text = page.run("document.body.innerText")
    for name in (SCRIPT, "../../x", "CON", "right to left"):
        assert name in text
    options = page.run("[...document.querySelectorAll('.filters select')[0].options].length")
    for i in range(1, options):
        page.run(f"(s => {{ s.selectedIndex = {i}; s.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
                 "(document.querySelectorAll('.filters select')[0])")  # fmt: skip
        assert len(page.run(LABELS)) == 3, i


def test_without_javascript_all_is_there_to_read(opened: Callable[..., Any], browser: Any) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page = opened()
        text = page.run("document.body.innerText")
        assert "pep @ 1/10" in text and "out of memory" in text
        assert page.run("document.querySelector('.filters').checkVisibility()") is False
        assert page.run("document.querySelectorAll('th button').length") == 0
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
