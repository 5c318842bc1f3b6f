"""Equal tuning: differences against numbers by hand, whatever the order; failures; and what the files say."""

from __future__ import annotations

import io
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nasbench_rec.reports.tuning import draw_gains, print_tuning, tuning_frame, write_tuning
from rich.console import Console

from nasbench_rec.errors import DataError, StoreError

HOSTILE = "<script>alert(1)</script>|`[a](b)*$x$\n\x1b[31m"
BROKEN = "RuntimeError: <img src=x onerror=alert(1)> | out of *memory*\n\x1b[31m  more"
FILES = {"equal.csv", "equal.md", "gains.svg", "gains.pdf"}
Frames = tuple[pd.DataFrame, pd.DataFrame]
Aucs = list[float | None]

# Means alone cannot tell a wrong pairing: the seeds differ by far more than the gains.
UNIFORM: tuple[Aucs, Aucs] = ([0.70, 0.80, 0.72], [0.715, 0.818, 0.739])
OTHER: tuple[Aucs, Aucs] = ([0.71, 0.80, 0.73], [0.72, 0.83, 0.75])


def method(label: str, default: Aucs, tuned: Aucs | None, **options: Any) -> list[dict[str, Any]]:
    """Return plan rows with their AUCs per seed (None: failed); `tuned` None: the defaults were kept."""
    base = {"method": label.split(" @ ")[0], "dataset": "planted", "backbone": "deepfm", "ratio": math.nan}
    base |= {
        "trials": 12,
        "tuning_seconds": 700.0,
        "default_valid": 0.72,
        "tuned_valid": 0.75,
        "split_seed": 0,
    }
    base |= {"changes": "" if tuned is None else "protocol.lr 0.003, k 3", "share": 1.0, "tuned_share": 1.0}
    base |= {"tuned_valid": 0.72} if tuned is None else {}
    rows = []
    for seed, auc in enumerate(default):
        row = {"label": label, "seed": seed, **base, **options}
        key = f"{row['dataset']}/{row['backbone']}/{label}/{seed}"
        row |= {"default_key": key, "tuned_key": key if tuned is None else f"{key}/tuned"}
        rows.append(row | {"aucs": (auc, auc if tuned is None else tuned[seed])})
    return rows


def frames(*methods: list[dict[str, Any]]) -> Frames:
    """Return plan and records."""
    rows = [row for rows in methods for row in rows]
    plan = pd.DataFrame(rows).drop(columns=["aucs", "share", "tuned_share"])
    records = {row["default_key"]: unit(row, row["aucs"][0], row["share"]) for row in rows}
    records |= {
        row["tuned_key"]: unit(row, row["aucs"][1], row["tuned_share"])
        for row in rows
        if row["tuned_key"] != row["default_key"]
    }
    return plan, pd.DataFrame([{"key": key, **record} for key, record in records.items()])


def unit(row: dict[str, Any], auc: float | None, share: float) -> dict[str, Any]:
    names = ("test_auc", "test_logloss", "embedding_bytes", "embedding_ratio")
    known = dict.fromkeys(names, math.nan)
    if auc is not None:
        known = dict(zip(names, (auc, 1 - 2 * auc, 1000 * share, share), strict=True))
    status, error = ("ok", None) if auc is not None else ("failed", BROKEN)
    return {"status": status, "error": error, "seed": row["seed"], "split_seed": row["split_seed"], **known}


def study(label: str = "ihas/robust @ 1/2", dataset: str = "planted") -> Frames:
    """Return two backbones, a gain, a loss, kept defaults, failures on either side and on both, an outlier."""
    rng, parts = np.random.default_rng(1), []
    for backbone in ("deepfm", "dnn"):
        shared = rng.normal(0.78, 0.004, 4)
        place = {"backbone": backbone, "dataset": dataset}
        for name, gain, moved, kind in (
            ("fixed", 0.0, 0.003, "fixed"),
            ("random @ 1/2", -0.003, None, "random"),
            (label, 0.002, 0.001, "ihas/robust"),
            ("magnitude @ 1/2", 0.001, -0.001, "magnitude"),
            ("pep @ 1/2", -0.25, 0.24, "pep"),
        ):
            default: Aucs = (shared + gain + rng.normal(0, 3e-4, 4)).tolist()
            tuned: Aucs | None = None
            if moved is not None:
                tuned = (shared + gain + moved + rng.normal(0, 3e-4, 4)).tolist()
            if kind == "magnitude" and tuned is not None:
                default[0], tuned[1] = None, None
            if kind == "pep" and backbone == "dnn":
                tuned = [None] * 4
            parts.append(method(name, default, tuned, method=kind, **place))
    return frames(*parts)


def row_of(frame: pd.DataFrame, label: str) -> pd.Series:
    return frame[frame["label"] == label].iloc[0]


def shuffled(pair: Frames, seed: int = 5) -> Frames:
    plan, records = (frame.sample(frac=1, random_state=seed) for frame in pair)
    return plan, records


def page(pair: Frames, out: Any, title: str = "Equal") -> str:
    write_tuning(*pair, name="equal", title=title, out=out)
    return (out / "equal.md").read_text("utf-8")


def printed(pair: Frames, width: int = 200, title: str = "Equal") -> str:
    file = io.StringIO()
    print_tuning(*pair, title=title, console=Console(file=file, width=width))
    return file.getvalue()


def texts(svg: bytes) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def interval(row: pd.Series, name: str) -> list[Any]:
    return row[[name, f"{name}_low", f"{name}_high", f"{name}_interval", f"{name}_pairs"]].tolist()


def by_hand(*differences: float) -> list[Any]:
    """Return mean, Student's interval, its kind and the number of three paired differences."""
    half = 4.302652730 * float(np.std(differences, ddof=1)) / math.sqrt(3)
    middle = float(np.mean(differences))
    return [*(pytest.approx(v, abs=1e-7) for v in (middle, middle - half, middle + half)), "t", 3]


@pytest.mark.parametrize("order", [None, 1, 2, 3])
def test_all_differences_are_paired_by_seed_in_any_order_of_rows(order):
    pair = frames(method("fixed", *UNIFORM), method("ihas", *OTHER))
    frame = tuning_frame(*(pair if order is None else shuffled(pair, order)))
    uniform, other = row_of(frame, "fixed"), row_of(frame, "ihas")
    assert interval(uniform, "auc_gain") == by_hand(0.015, 0.018, 0.019)
    assert interval(other, "auc_gain") == by_hand(0.01, 0.03, 0.02)
    assert interval(other, "logloss_gain") == by_hand(-0.02, -0.06, -0.04)
    assert interval(other, "default_vs_uniform") == by_hand(0.01, 0.0, 0.01)
    assert interval(other, "tuned_vs_uniform") == by_hand(0.005, 0.012, 0.011)
    assert interval(other, "unequal") == by_hand(0.02, 0.03, 0.03)
    assert interval(uniform, "tuned_vs_uniform")[3:] == ["none", 0], "the uniform model against itself"
    assert other["tuned_auc"] == pytest.approx(np.mean(OTHER[1]))
    assert other["tuned_auc_sd"] == pytest.approx(np.std(OTHER[1], ddof=1))
    assert other["default_logloss"] == pytest.approx(1 - 2 * np.mean(OTHER[0]))


def test_seeds_exchanged_between_plan_and_records_are_refused():
    plan, records = frames(method("fixed", *UNIFORM), method("ihas", *OTHER))
    plan["tuned_key"] = plan["tuned_key"].map(
        lambda key: key.replace("ihas/0", "x").replace("ihas/1", "ihas/0")
    )
    with pytest.raises(
        DataError, match=r"ihas/0/tuned has seed 0 of split 0, but the plan has it for seed 1"
    ):
        tuning_frame(plan, records)
    plan, records = frames(method("fixed", *UNIFORM))
    records["split_seed"] = 1
    with pytest.raises(DataError, match="seed 0 of split 1, but the plan has it for seed 0 of split 0"):
        tuning_frame(plan, records)


def test_splits_are_part_of_the_pair():
    first, second = (method("ihas", *OTHER, split_seed=split) for split in (0, 1))
    for row in second:
        row["default_key"], row["tuned_key"] = f"2{row['default_key']}", f"2{row['tuned_key']}"
        row["aucs"] = tuple(auc + 0.1 for auc in row["aucs"])
    row = tuning_frame(*frames(first, second)).iloc[0]
    assert (row["planned"], row["auc_gain_pairs"], row["auc_gain_interval"]) == (6, 6, "sign-flip")
    assert row["auc_gain"] == pytest.approx(0.02)


def test_kept_defaults_are_no_gain_at_all_and_say_so(tmp_path):
    pair = frames(method("fixed", UNIFORM[0], None), method("ihas", *OTHER))
    row = row_of(tuning_frame(*pair), "fixed")
    assert row["kept"]
    assert interval(row, "auc_gain") == [0.0, 0.0, 0.0, "constant", 3]
    assert row["valid_gain"] == 0
    text = page(pair, tmp_path)
    assert re.search(
        r"\| fixed \(uniform\) \| 3 \|.*\| kept the defaults \| \+\.0000 \| kept the defaults \|", text
    )
    assert "| fixed (uniform) | kept the defaults | 12 |" in text
    assert "The uniform model kept its defaults." in text
    assert "kept the defaults" in texts((tmp_path / "gains.svg").read_bytes())


def test_a_failed_tuned_seed_takes_its_pair_out_and_no_other(tmp_path):
    pair = frames(method("fixed", *UNIFORM), method("ihas", OTHER[0], [0.72, None, 0.75]))
    row = row_of(tuning_frame(*pair), "ihas")
    assert row[["planned", "n", "default_failed", "tuned_failed", "tuned_missing"]].tolist() == [
        3,
        2,
        0,
        1,
        0,
    ]
    assert (row["auc_gain"], row["auc_gain_pairs"]) == (pytest.approx(0.015), 2)
    assert row["tuned_vs_uniform"] == pytest.approx((0.005 + 0.011) / 2)
    assert row["default_vs_uniform_pairs"] == 3, "the defaults did not fail"
    assert row["tuned_auc"] == pytest.approx((0.72 + 0.75) / 2)
    text = page(pair, tmp_path)
    assert "| ihas | 2 of 3 |" in text
    assert "- ihas: tuned failed (1/3): RuntimeError: &lt;img src=x onerror=alert(1)&gt; \\| out of" in text
    assert "ihas (2 of 3 pairs)" in texts((tmp_path / "gains.svg").read_bytes())


def test_different_seeds_lost_on_either_side_leave_one_pair():
    plan, records = frames(method("fixed", *UNIFORM), method("ihas", [None, 0.80, 0.73], OTHER[1]))
    records = records[~records["key"].str.endswith("ihas/1/tuned")]
    row = row_of(tuning_frame(plan, records), "ihas")
    assert row[["n", "default_failed", "tuned_missing"]].tolist() == [1, 1, 1]
    assert interval(row, "auc_gain")[3:] == ["none", 1]
    assert row["auc_gain"] == pytest.approx(0.02)
    said = printed((plan, records))
    assert "default failed (1/3): RuntimeError" in said and "tuned not run (1/3)" in said
    assert "+.0200 1 pair" in said


def test_a_failed_uniform_seed_is_missing_from_comparisons_alone():
    pair = frames(method("fixed", UNIFORM[0], [None, 0.818, 0.739]), method("ihas", *OTHER))
    row = row_of(tuning_frame(*pair), "ihas")
    assert (row["tuned_vs_uniform"], row["tuned_vs_uniform_pairs"]) == (pytest.approx(0.0115), 2)
    assert row["auc_gain_pairs"] == row["default_vs_uniform_pairs"] == row["unequal_pairs"] == 3


def test_success_without_a_score_is_no_success_and_the_last_record_counts():
    plan, records = frames(method("fixed", *UNIFORM), method("ihas", *OTHER))
    again = records[records["key"].str.endswith("ihas/2")].assign(test_auc=math.nan)
    row = row_of(tuning_frame(plan, pd.concat([records, again])), "ihas")
    assert row[["n", "default_failed", "default_reason"]].tolist() == [2, 1, "its record has no test AUC"]


def test_without_a_uniform_model_nothing_is_compared_with_it(tmp_path):
    half = method("fixed @ 1/2", *UNIFORM, ratio=0.5, share=0.5)
    narrow = method("fixed (width=4)", *UNIFORM, method="fixed", share=0.25)
    pair = frames(half, narrow, method("ihas", *OTHER))
    frame = tuning_frame(*pair)
    assert not frame["uniform"].any()
    assert (frame["tuned_vs_uniform_pairs"] == 0).all() and frame["unequal"].isna().all()
    text = page(pair, tmp_path)
    assert "(method fixed) is not among them: nothing is compared with it." in text
    assert "(uniform)" not in text
    assert "tuned uniform model" not in " ".join(texts((tmp_path / "gains.svg").read_bytes()))


def test_a_tuned_uniform_model_of_another_width_is_still_the_one_to_beat():
    pair = frames(method("fixed", *UNIFORM, tuned_share=2.0), method("ihas", *OTHER))
    frame = tuning_frame(*pair)
    assert row_of(frame, "fixed")[["uniform", "default_bytes", "tuned_bytes"]].tolist() == [True, 1000, 2000]
    assert row_of(frame, "ihas")["tuned_vs_uniform_pairs"] == 3


def test_the_best_tuned_come_first_and_those_without_a_score_last():
    labels = [tuple(row) for row in tuning_frame(*shuffled(study()))[["backbone", "label"]].to_numpy()]
    names = ["fixed", "ihas/robust @ 1/2", "magnitude @ 1/2", "random @ 1/2", "pep @ 1/2"]
    assert [label for backbone, label in labels if backbone == "dnn"][-1] == "pep @ 1/2"
    for backbone in ("deepfm", "dnn"):
        found = [label for place, label in labels if place == backbone]
        assert set(found) == set(names) and found[:2] in (names[:2], names[1::-1])
    frame = tuning_frame(*study())
    for _, part in frame.groupby("backbone"):
        assert part["tuned_auc"].dropna().is_monotonic_decreasing


def test_the_page_counts_who_beats_the_uniform_model_before_and_after(tmp_path):
    worse: Aucs = [0.69, 0.79, 0.71]
    pair = frames(
        method("fixed", *UNIFORM),
        method("ihas", *OTHER),
        method("a", [0.72, 0.83, 0.745], [0.71, 0.80, 0.73]),
    )
    text = page(pair, tmp_path)
    assert (
        "Every method was tuned with 12 trials. Tuning moved the test AUC of the uniform model by +.0173"
        in text
    )
    assert "with the defaults of both 2 of 2 (1 with the whole interval above zero)" in text
    assert "with both tuned 1 of 2 (none with the whole interval above zero)." in text
    pair = frames(method("fixed", *UNIFORM), method("ihas", worse, None, trials=3))
    assert "trials are NOT equal, so the tuning was not either: ihas 3, fixed (uniform) 12." in printed(
        pair, 400
    )
    pair = frames(method("fixed", UNIFORM[0], [None] * 3), method("ihas", *OTHER))
    said = printed(pair, 400)
    assert "is not known: no pair of its units succeeded" in said and "with both tuned not known" in said


def test_the_page_has_what_was_chosen_and_how_to_read_it(tmp_path):
    text = page(study(), tmp_path)
    assert "| ihas/robust @ 1/2 | protocol.lr 0.003, k 3 | 12 | 11.7 min | .7200 | .7500 |" in text
    for said in (
        "on validation data alone",
        "opened only after",
        "same number of trials",
        "spaces differ in size",
    ):
        assert said in text
    assert "![gains](gains.svg)" in text and "`equal.csv`" in text
    assert re.search(r"\| pep @ 1/2 \| 0 of 4 \| \.5\d+ ±\.\d+ \| failed \|", text)


def test_equal_frames_give_equal_bytes_and_the_csv_is_the_frame(tmp_path):
    pair = study()
    paths = write_tuning(*pair, name="equal", title="Equal", out=tmp_path / "a" / "new")
    assert {path.name for path in paths} == FILES
    write_tuning(*shuffled(pair), name="equal", title="Equal", out=tmp_path / "b")
    for name in FILES:
        assert (tmp_path / "a" / "new" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    found, frame = pd.read_csv(tmp_path / "b" / "equal.csv"), tuning_frame(*pair)
    assert list(found.columns) == list(frame.columns)
    assert found["tuned_vs_uniform_low"].tolist() == pytest.approx(
        frame["tuned_vs_uniform_low"].tolist(), nan_ok=True, rel=1e-15
    )


def test_foreign_text_is_inert(tmp_path):
    pair = study(HOSTILE, HOSTILE)
    pair[0]["changes"] = pair[0]["changes"].where(pair[0]["changes"] == "", HOSTILE)
    text = page(pair, tmp_path, HOSTILE)
    assert "<script" not in text and "<img" not in text and "\x1b" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\|\\`\\[a\\](b)\\*\\$x\\$" in text
    rows = [re.sub(r"\\.", "", line).count("|") for line in text.splitlines() if line.startswith("|")]
    assert set(rows) == {7, 8}, "every row has the columns of its table"
    svg = (tmp_path / "gains.svg").read_bytes()
    assert b"<script" not in svg
    assert any("$x$" in name for name in texts(svg)), "no mathematics is read from names"


def test_the_figure_shows_every_method_and_a_panel_pair_per_place():
    plan, records = study()
    figure = draw_gains(tuning_frame(plan, records))
    assert len(figure.axes) == 4
    left, right = figure.axes[:2]
    frame = tuning_frame(plan, records)
    part = frame[frame["backbone"] == "deepfm"]
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names[0].startswith(part["label"].iloc[0]) and len(names) == 5
    dashed = [line for line in left.get_lines() if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [row_of(part, "fixed")["tuned_auc"]]
    notes = [text.get_text() for text in right.texts]
    assert "kept the defaults" in notes
    assert any(note.startswith("+.2") for note in notes), "a gain beyond the axis is written"
    assert any(text.get_text().startswith(".5") for text in left.texts)
    assert "no tuned unit succeeded" in [text.get_text() for text in figure.axes[2].texts]


@pytest.mark.parametrize("lost", ["ihas", "fixed", "all", "not run"])
def test_files_are_made_whatever_is_missing(tmp_path, lost):
    plan, records = frames(method("fixed", *UNIFORM), method("ihas", *OTHER))
    gone = records["key"].str.contains(lost) if lost in ("ihas", "fixed") else records["key"] != ""
    if lost == "not run":
        records = records[~gone]
    else:
        records.loc[gone, ["status", "error"]] = ["failed", BROKEN]
        records.loc[gone, ["test_auc", "test_logloss", "embedding_bytes", "embedding_ratio"]] = math.nan
    text = page((plan, records), tmp_path)
    assert f"| {lost if lost in ('ihas', 'fixed (uniform)') else 'fixed (uniform)'} |" in text
    assert ("not run (3/3)" if lost == "not run" else "failed (3/3)") in text
    assert printed((plan, records))


def test_one_seed_is_enough_for_a_page(tmp_path):
    pair = frames(method("fixed", [0.7], [0.71]), method("ihas", [0.72], None))
    assert "| +.0100 1 pair |" in page(pair, tmp_path)
    assert "uniform model by +.0100 1 pair." in (tmp_path / "equal.md").read_text("utf-8")


@pytest.mark.parametrize("width", [40, 60, 80, 120, 240])
def test_the_terminal_fits_and_keeps_the_essentials(width):
    text = printed(study(), width, "[red]Look[/nope]")
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text and "[red]Look[/nope]" in text
    if width >= 80:
        assert "kept the defaults" in text and "tuned AUC" in text
    assert ("Not shown at this width" in text) == (width < 240)


def test_frames_that_are_not_fit_are_refused(tmp_path):
    plan, records = frames(method("fixed", *UNIFORM), method("ihas", *OTHER))
    with pytest.raises(DataError, match=r"plan: the columns tuned_key, trials are missing.*plan_frame"):
        tuning_frame(plan.drop(columns=["tuned_key", "trials"]), records)
    with pytest.raises(DataError, match=r"records: the columns test_auc are missing.*Store\.frame"):
        tuning_frame(plan, records.drop(columns="test_auc"))
    with pytest.raises(DataError, match="no pairs"):
        tuning_frame(plan.iloc[:0], records)
    with pytest.raises(DataError, match="'fixed' on planted, deepfm is planned twice for seed 0 of split 0"):
        tuning_frame(pd.concat([plan, plan.iloc[:1]]), records)
    plan.loc[0, "trials"] = 3
    with pytest.raises(DataError, match="'fixed' on planted, deepfm has several values of trials"):
        tuning_frame(plan, records)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.*cannot be written"):
        write_tuning(*study(), name="equal", title="Equal", out=tmp_path / "file")


def test_neither_training_nor_tuning_libraries_are_loaded(tmp_path):
    plan, records = study()
    plan.to_csv(tmp_path / "plan.csv", index=False)
    records.to_csv(tmp_path / "records.csv", index=False)
    code = f"""
import io, sys
from pathlib import Path
import pandas as pd
from nasbench_rec.reports.tuning import print_tuning, write_tuning
assert not {{"matplotlib", "seaborn", "scipy", "rich"}} & set(sys.modules)
from rich.console import Console
folder = Path({str(tmp_path)!r})
frames = [pd.read_csv(folder / name, keep_default_na=True) for name in ("plan.csv", "records.csv")]
frames[0]["changes"] = frames[0]["changes"].fillna("")
write_tuning(*frames, name="equal", title="Equal", out=folder / "out")
print_tuning(*frames, title="Equal", console=Console(file=io.StringIO()))
assert not {{"torch", "ray", "optuna", "sklearn", "polars"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
