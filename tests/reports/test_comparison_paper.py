"""The compact table: what is bold, what has a dagger, and that its LaTeX is sound."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from nasbench_rec.reports import write_leaderboard
from nasbench_rec.reports.comparison import paper_csv, paper_frame, paper_latex, paper_markdown

HOSTILE = "& % $ # _ { } ~ ^ \\ <b> [x] * | \" ' ` \\input{x} \\\\"
WIDE = "名前 Ελλ ١٢ \u202eabc\u202c é ß " + "x" * 60
NAN = math.nan


@pytest.fixture
def board(record):
    def build(aucs: dict[tuple[str, str, float], list[float]], dataset: str = "a") -> pd.DataFrame:
        rows = []
        for (label, name, ratio), values in aucs.items():
            for seed, auc in enumerate(values):
                share = 1.0 if ratio != ratio else ratio
                row = record(label, name, seed, ratio=ratio, test_auc=auc, embedding_ratio=share)
                row |= {"dataset": dataset, "embedding_bytes": 1000 * share}
                if math.isnan(auc):
                    row |= {"status": "failed", "error": "OSError: disk full"}
                rows.append(row)
        return pd.DataFrame(rows)

    return build


UNIFORM = [0.800, 0.802, 0.801, 0.8005, 0.8015, 0.8012]
SURE = [u + 0.002 + 0.0001 * (i % 2) for i, u in enumerate(UNIFORM)]
SAME = [u + 0.0001 * (-1) ** i for i, u in enumerate(UNIFORM)]
AUCS = {
    ("fixed", "fixed", NAN): UNIFORM,
    ("sure @ 1/2", "sure", 0.5): SURE,
    ("same @ 1/2", "same", 0.5): SAME,
    ("sure @ 1/10", "sure", 0.1): [u - 0.003 + 0.004 * (i % 2) for i, u in enumerate(UNIFORM)],
    ("same @ 1/10", "same", 0.1): [u + 0.001 - 0.004 * (i % 2) for i, u in enumerate(UNIFORM)],
    ("part @ 1/10", "part", 0.1): [0.9, 0.9, 0.9, 0.9, 0.9, NAN],
    ("lost @ 1/10", "lost", 0.1): [NAN] * 6,
    ("own", "own", NAN): SAME,
}


def test_bold_and_daggers_by_hand(board):
    cells = paper_frame(board(AUCS)).set_index("label")
    assert cells["best"].to_dict() == {label: label == "sure @ 1/2" for label in cells.index}
    assert set(cells.index[cells["equivalent"]]) == {"same @ 1/2", "own"}
    assert cells.loc["same @ 1/2", "equivalence_p"] < 0.05 < cells.loc["sure @ 1/2", "equivalence_p"]
    assert cells.loc["fixed", "equivalence_pairs"] == 0
    assert not paper_frame(board(AUCS), margin=1e-5)["equivalent"].any()


def test_a_failed_unit_takes_the_bold_face(board):
    cells = paper_frame(board(AUCS)).set_index("label")
    assert cells.loc["part @ 1/10", "test_auc"] == cells.loc[cells["ratio"] == 0.1, "test_auc"].max()
    assert not cells.loc["part @ 1/10", "best"]


def test_one_seed_makes_nothing_bold(board):
    cells = paper_frame(board({key: values[:1] for key, values in AUCS.items()}))
    assert not cells["best"].any() and not cells["equivalent"].any()


def test_markdown_has_budgets_across(board):
    lines = paper_markdown(paper_frame(board(AUCS))).decode().splitlines()
    start = lines.index("| method | own size | 1/2 | 1/10 |")
    rows = {line.split(" | ")[0].strip("| "): line for line in lines[start + 2 :] if line.startswith("|")}
    assert list(rows)[0] == "fixed (uniform)" and list(rows)[-1] == "own"
    assert rows["sure"] == "| sure | — | **.8031** ±.0007 | .8000 ±.0025 |"
    assert "±.0007†" in rows["same"]
    assert rows["part"].endswith("| .90000 ±.00000 (1 failed) |") and rows["lost"].endswith("| failed |")
    assert rows["own"].startswith("| own | .8010 ±.0007† (1.00) |")
    assert "over 5 to 6 seeds" in lines[-1] and "within .0005" in lines[-1]


def test_csv_holds_the_cells(board):
    frame = paper_frame(board(AUCS))
    assert paper_csv(frame).decode().count("\n") == len(frame) + 1


def test_the_leaderboard_is_bold_where_the_statistics_allow_it(board, tmp_path: Path):
    write_leaderboard(board(AUCS | {("part @ 1/10", "part", 0.1): [0.7] * 6}), tmp_path, "Look")
    text = (tmp_path / "leaderboard.md").read_text()
    assert "| **.8031 ±.0007** |" in text and "| **.8031** |" in text
    tables = text[: text.index("## How to read")]
    assert len(re.findall(r"\*\*", tables)) == 4, "nothing else is bold"
    assert (tmp_path / "leaderboard.tex").read_text().count(r"\textbf") == 1
    few = {key: values[:1] for key, values in AUCS.items()}
    write_leaderboard(board(few), tmp_path, "Look")
    text = (tmp_path / "leaderboard.md").read_text()
    assert "**" not in text[: text.index("## How to read")]
    assert r"\textbf" not in (tmp_path / "leaderboard.tex").read_text()


def hostile(board) -> pd.DataFrame:
    aucs = {(label.replace("sure", HOSTILE), name, ratio): v for (label, name, ratio), v in AUCS.items()}
    frame = board(aucs | {(f"{WIDE} @ 1/2", "w", 0.5): SAME}, dataset=HOSTILE)
    frame.loc[frame["status"] != "ok", "error"] = f"ValueError: {HOSTILE}"
    return pd.concat([frame, frame.assign(dataset=WIDE, key=frame["key"] + "w")], ignore_index=True)


def sources(board, folder: Path) -> dict[str, str]:
    """Return the LaTeX of both tables with names that try to break out."""
    frame = hostile(board)
    write_leaderboard(frame, folder, HOSTILE)
    board_text = (folder / "leaderboard.tex").read_text("utf-8")
    return {"paper": paper_latex(paper_frame(frame)).decode(), "leaderboard": board_text}


def unescaped(text: str) -> str:
    """Return LaTeX without comments, escaped characters and the arguments of our own commands."""
    text = re.sub(r"(?m)^%.*$", "", text)
    return re.sub(r"\\[&%$#_{}]", "", text)


@pytest.mark.parametrize("which", ["paper", "leaderboard"])
def test_latex_is_balanced_and_escaped(board, tmp_path: Path, which):
    text = sources(board, tmp_path)[which]
    bare = unescaped(text)
    depth = 0
    for c in bare:
        depth += (c == "{") - (c == "}")
        assert depth >= 0
    assert depth == 0
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 2
    assert bare.count("$") % 2 == 0
    assert not set(bare) & set("#~^_") - set("^")
    assert set(re.findall(r".\^.", bare)) <= {"$^{"}, "only that of a dagger"
    assert r"\input" not in text
    assert all(ord(c) < 128 or "À" <= c <= "ÿ" for c in text), "what pdfLaTeX knows"
    for body in re.findall(r"\\midrule\n(.*?)\\bottomrule", text, re.DOTALL):
        counts = {len(re.findall(r"(?<!\\)&", line)) for line in body.strip().splitlines()}
        assert len(counts) == 1, "every line has all columns"


COMPILER = next((c for c in ("pdflatex", "tectonic", "latexmk") if shutil.which(c)), None)


@pytest.mark.skipif(COMPILER is None, reason="no LaTeX here")
def test_latex_compiles_as_it_is(board, tmp_path: Path):
    for name, text in sources(board, tmp_path).items():
        (tmp_path / f"{name}-table.tex").write_text(text, "utf-8")
    page = r"""\documentclass{article}
\usepackage[utf8]{inputenc}\usepackage[T1]{fontenc}\usepackage{booktabs}\usepackage{graphicx}
\begin{document}\input{paper-table}\input{leaderboard-table}\end{document}
"""
    (tmp_path / "page.tex").write_text(page)
    options = {
        "tectonic": ["page.tex"],
        "latexmk": ["-pdf", "-interaction=nonstopmode", "-halt-on-error", "page.tex"],
    }
    command = [
        str(COMPILER),
        *options.get(str(COMPILER), ["-interaction=nonstopmode", "-halt-on-error", "page.tex"]),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, errors="replace"
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 10_000
