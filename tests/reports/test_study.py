"""A study's figures as frames against numbers by hand, and what its page and its tables say."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nasbench_rec.reports import _study_frames as content
from nasbench_rec.reports import _study_rows, _study_writers
from nasbench_rec.reports._study_data import Goal
from nasbench_rec.reports._study_figures import figures_with
from nasbench_rec.reports._study_scales import byte_ticks, limits, log_ticks, scale_of
from nasbench_rec.reports.study import FIGURES, StudyFrames, print_study, write_study
from rich.console import Console

from nasbench_rec.errors import ConfigError, StoreError

HOSTILE = "<script>alert(1)</script>|`[a](b)*$x$\n\x1b[31m"


def dimension(name: str, kind: str, low: float | None = None, high: float | None = None, **more: Any) -> dict:
    known = {"name": name, "type": kind, "low": low, "high": high, "log": False, "step": None}
    return known | {"choices": None, "when": None} | more


SPACE = [
    dimension("lam", "float", 1e-4, 1e-1, log=True),
    dimension("tau", "float", 0.05, 2.0, log=True),
    dimension("k", "int", 1, 12, step=1),
    dimension("metric", "categorical", choices=["euclidean", "scatter", "cosine"]),
    dimension("theta", "float", 0.1, 0.9, when={"metric": ["scatter"]}),
]
AUC = {"name": "valid_auc", "direction": "maximize"}
BYTES = {"name": "embedding_bytes", "direction": "minimize"}
SAVED = {"computed_seconds": 1800.0, "reused_seconds": 600.0, "search": [60, 24], "train": [84, 0]}


def trial(number: int, state: str = "complete", **values: Any) -> dict[str, Any]:
    """Return a row of trials; names of parameters without their prefix."""
    names = {d["name"] for d in SPACE}
    row = {"number": number, "state": state, "reason": "", "seconds": 60.0, "default": number == 0}
    row |= {"lost": False, "best": False, "valid_auc": math.nan}
    return row | {f"param.{k}" if k in names else k: v for k, v in values.items()}


def study(trials: list[dict[str, Any]], objectives: tuple = (AUC,), **parts: Any) -> StudyFrames:
    """Return frames of these trials, one unit per seed with the trial's value shifted by it."""
    columns = [*trial(0), *(f"param.{d['name']}" for d in SPACE), *(o["name"] for o in objectives)]
    frame = pd.DataFrame(trials, columns=list(dict.fromkeys(columns)))
    units = [
        {k: v for k, v in row.items() if k in ("number", "state") or k.startswith("param.")}
        | {"dataset": "planted", "backbone": "deepfm", "seed": seed, "split_seed": 0}
        | {"valid_auc": row["valid_auc"] + 0.001 * (seed - 1), "embedding_bytes": 1000}
        for row in frame.to_dict("records")
        for seed in range(3)
        if row["state"] == "complete"
    ]
    shown = {
        "name": "look",
        "title": "A look",
        "question": "Which lambda?",
        "engine": "optuna",
        "trials": frame,
        "units": pd.DataFrame(units),
        "curves": pd.DataFrame(columns=["number", "state", "step", "value"]),
        "importances": pd.DataFrame(columns=["objective", "param", "importance"]),
        "space": SPACE,
        "objectives": list(objectives),
        "savings": SAVED,
    }
    return StudyFrames(**shown | parts)


def whole(n: int = 30, several: bool = False, datasets: int = 1, seeds: int = 3) -> StudyFrames:
    """Return a study as it comes out: pruned and failed trials, a condition, one trial far off."""
    rng, rows = np.random.default_rng(3), []
    for i in range(n):
        metric = str(rng.choice(["euclidean", "scatter", "cosine"])) if i else "euclidean"
        values = {"lam": 10 ** rng.uniform(-4, -1), "tau": 10 ** rng.uniform(-1.3, 0.3)}
        values |= {"k": int(rng.integers(1, 7)), "metric": metric}
        values |= {"theta": float(rng.uniform(0.1, 0.9)) if metric == "scatter" else None}
        auc = 0.8 - 0.004 * (math.log10(values["lam"]) + 2) ** 2 + 0.003 * rng.normal() - 0.3 * (i == 17)
        state = "pruned" if i % 7 == 5 else "failed" if i in (9, 22) else "complete"
        reason = {"pruned": "behind the median at step 4", "failed": "ValueError: loss is nan"}.get(state, "")
        done = state == "complete"
        values |= {"valid_auc": auc if done else math.nan, "reason": reason}
        rows.append(
            trial(i, state, **values, embedding_bytes=round(9e4 * rng.uniform()) if done else math.nan)
        )
    goals = (AUC, BYTES) if several else (AUC,)
    frames = study(rows, goals)
    table = frames.trials
    if several:
        front = content.pareto_frame(frames).set_index("number")["front"]
        table["best"] = table["number"].map(front).eq(True)
    elif len(frames.complete):
        table["best"] = table["number"] == frames.ranked()["number"].iloc[0]
    curves = [
        {"number": row["number"], "state": row["state"], "step": unit * 16 + phase * 8 + epoch}
        | {"value": 0.7 + 0.01 * epoch + 0.002 * unit + 0.001 * rng.normal()}
        for row in rows
        for unit, phase in itertools.product(range(3 if row["state"] == "complete" else 1), range(2))
        for epoch in range(int(rng.integers(4, 9)))
    ]
    shares = {"lam": 0.5, "tau": 0.2, "k": 0.25, "metric": 0.05}
    weights = [
        {"objective": goal["name"], "param": name, "importance": share}
        for goal in goals
        for name, share in shares.items()
    ]
    units = [
        unit | {"dataset": f"data{d}", "seed": seed, "valid_auc": unit["valid_auc"] + 0.001 * seed}
        for unit in frames.units[frames.units["seed"] == 0].to_dict("records")
        for d, seed in itertools.product(range(datasets), range(seeds))
    ]
    parts = {
        "curves": pd.DataFrame(curves),
        "importances": pd.DataFrame(weights),
        "units": pd.DataFrame(units),
    }
    return dataclasses.replace(frames, **parts)


def few(n: int) -> StudyFrames:
    frames = whole(n)
    return dataclasses.replace(frames, importances=frames.importances.iloc[:0])


def hostile() -> StudyFrames:
    """Return a study in which all foreign text is hostile."""
    frames, long = whole(12), HOSTILE + "y" * 200
    names = {"lam": f"lam {long}", "metric": f"metric {HOSTILE}"}
    words = {"scatter": f"[64, 32] {HOSTILE}", "cosine": long}
    columns = {f"param.{old}": f"param.{new}" for old, new in names.items()}
    space = [d | {"name": names.get(d["name"], d["name"])} for d in SPACE]
    space[3] |= {"choices": ["euclidean", *words.values()]}
    space[4] |= {"when": {HOSTILE: [HOSTILE]}}

    def renamed(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{"param.metric": frame["param.metric"].replace(words)}).rename(columns=columns)

    return dataclasses.replace(
        frames,
        title=HOSTILE,
        question=HOSTILE,
        engine=HOSTILE,
        trials=renamed(frames.trials).assign(reason=long),
        units=renamed(frames.units).assign(dataset=HOSTILE, backbone=long),
        importances=frames.importances.assign(param=frames.importances["param"].replace(names)),
        space=space,
        savings=SAVED | {HOSTILE: [1, 2]},
    )


def texts(svg: bytes) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_history_keeps_the_best_so_far_and_the_trials_without_value():
    aucs = [0.7, math.nan, 0.8, 0.75, math.nan]
    states = ["complete", "pruned", "complete", "complete", "running"]
    rows = [trial(i, s, valid_auc=a) for i, (s, a) in enumerate(zip(states, aucs, strict=True))]
    frame = content.history_frame(study(rows[::-1]))
    assert frame["number"].tolist() == [0, 1, 2, 3], "a running trial has not ended"
    assert frame["best_so_far"].tolist() == [0.7, 0.7, 0.8, 0.8]
    assert frame["value"].isna().tolist() == [False, True, False, False]
    least = content.history_frame(study(rows, (AUC | {"direction": "minimize"},)))
    assert least["best_so_far"].tolist() == [0.7, 0.7, 0.7, 0.7]


def test_slice_has_a_point_per_parameter_that_was_asked_for():
    rows = [
        trial(0, lam=1e-3, metric="cosine", valid_auc=0.7),
        trial(1, lam=1e-2, metric="scatter", theta=0.5, valid_auc=0.8),
        trial(2, "pruned", lam=1e-1, metric="scatter"),
    ]
    frame = content.slice_frame(study(rows))
    places = {name: part["x"].tolist() for name, part in frame.groupby("parameter")}
    assert places == {"lam": [1e-3, 1e-2], "metric": [2.0, 1.0], "theta": [0.5]}
    assert frame.loc[frame["parameter"] == "theta", "number"].tolist() == [1]


def test_scales_are_logarithmic_where_the_dimension_is_and_hold_what_lies_outside():
    scale = scale_of(SPACE[0], pd.Series([1e-5, 1e-2]))
    assert (scale.low, scale.high) == (1e-5, 0.1), "the default may lie outside of the range"
    assert scale.share(np.array([1e-5, 1e-3, 1e-1])).tolist() == pytest.approx([0, 0.5, 1])
    plain = scale_of(SPACE[4], pd.Series([0.5]))
    assert plain.share(np.array([0.1, 0.5])).tolist() == pytest.approx([0, 0.5])
    widths = scale_of(dimension("width", "categorical", choices=[2, 8]), pd.Series([8.0, 16.0]))
    assert widths.choices == ("2", "8", "16"), "2 and 2.0 are one choice, unlisted ones come last"
    assert widths.at([16.0, None, 2])[[0, 2]].tolist() == [2.0, 0.0]


def test_ticks_are_few_and_round():
    assert log_ticks(1e-4, 1e-1) == [1e-4, 1e-3, 1e-2, 1e-1]
    assert log_ticks(0.05, 2) == [0.1, 0.3, 1.0]
    assert log_ticks(3, 3.5) == [3, 3.5]
    assert scale_of(dimension("k", "int", 1, 6), pd.Series([2])).ticks()[1] == ["1", "2", "3", "4", "5", "6"]
    assert byte_ticks(1000, 70_000) == [16384.0 * i for i in range(1, 5)]


def test_an_axis_leaves_out_only_what_is_far_worse():
    auc, size = Goal("valid_auc", "maximize"), Goal("embedding_bytes", "minimize")
    values = pd.Series([0.5, 0.80, 0.81, 0.82, 0.83, 0.99])
    assert limits(values, auc) == (0.80, 0.99)
    assert limits(values * 1e5, size) == pytest.approx((5e4, 8.3e4)), "small is good, large is not"
    low, high = limits(pd.Series([0.8]), auc)
    assert low < 0.8 < high


def test_contours_are_of_the_two_most_important_parameters_of_numbers():
    frames = whole()
    found = content.contour_frame(frames)
    assert found[["x_name", "y_name"]].drop_duplicates().values.tolist() == [["lam", "k"]]
    assert sorted(found["number"]) == sorted(frames.complete["number"])
    unknown = dataclasses.replace(frames, importances=frames.importances.iloc[:0])
    assert content.contour_frame(unknown)[["x_name", "y_name"]].iloc[0].tolist() == ["lam", "tau"]
    asked = content.contour_frame(frames, [("tau", "theta"), ("k", "lam")])
    assert asked[["x_name", "y_name"]].drop_duplicates().values.tolist() == [["tau", "theta"], ["k", "lam"]]
    conditional = frames.complete["param.theta"].notna().sum()
    assert 0 < (asked["x_name"] == "tau").sum() == conditional < len(frames.complete)


def test_pairs_that_have_no_contour_are_refused():
    with pytest.raises(ConfigError, match="unknown parameter 'lan'; did you mean 'lam'"):
        content.contour_frame(whole(), [("lan", "tau")])
    with pytest.raises(ConfigError, match="'metric' has no range of numbers; choose among 'lam', 'tau', 'k'"):
        content.contour_frame(whole(), [("lam", "metric")])


def test_a_surface_goes_through_the_trials_and_averages_equal_places():
    ends = [scale_of(SPACE[0], pd.Series(dtype=float)), scale_of(SPACE[4], pd.Series(dtype=float))]
    corners = list(itertools.product([1e-4, 1e-1], [0.1, 0.9]))
    points = pd.DataFrame([*corners, corners[0]], columns=["x", "y"]).assign(value=[1.0, 2, 3, 4, 5])
    x, y, values, triangles = content.surface(points, *ends)
    assert dict(zip(zip(x, y, strict=True), values, strict=True))[1e-4, 0.1] == 3.0
    assert len(values) == 4
    assert triangles.shape == (2, 3)
    assert content.surface(points.iloc[:3], *ends) is None, "too few"
    assert content.surface(points.assign(y=0.5, x=[1e-4, 1e-3, 1e-2, 1e-1, 0.05]), *ends) is None, "a line"


def test_a_surface_is_spanned_on_the_axes_own_scales():
    """On a logarithmic axis another pair of corners is near than on a linear one."""
    scale, plain = scale_of(SPACE[0], pd.Series(dtype=float)), scale_of(SPACE[4], pd.Series(dtype=float))
    points = pd.DataFrame({"x": [1e-4, 10**-2.5, 10**-2.5, 0.1], "y": [0.5, 0.86, 0.14, 0.5], "value": 1.0})
    log = content.surface(points, scale, plain)[3]
    linear = content.surface(points, dataclasses.replace(scale, log=False), plain)[3]
    assert {frozenset(t) for t in log.tolist()} != {frozenset(t) for t in linear.tolist()}


def test_sensitivity_shows_every_unit_the_mean_and_the_best_trial_of_each_value():
    ks, aucs = [10, 9, 10, 9, 9], [0.7, 0.9, 0.8, 0.6, math.nan]
    states = ["complete"] * 4 + ["pruned"]
    rows = [
        trial(i, s, k=k, lam=0.01, metric="cosine", valid_auc=a)
        for i, (k, a, s) in enumerate(zip(ks, aucs, states, strict=True))
    ]
    frame = content.sensitivity_frame(study(rows))
    assert set(frame["parameter"]) == {"k"}, "lam is a float, metric has one value"
    assert list(frame["setting"].unique()) == ["9", "10"], "by size and not by letters"
    assert frame.groupby("setting")["seed"].value_counts().unique().tolist() == [2]
    means = frame.groupby("setting")["mean"].first()
    assert means.to_dict() == pytest.approx({"10": 0.75, "9": 0.75})
    assert frame.groupby("setting")["trials"].first().to_dict() == {"9": 2, "10": 2}
    best = frame[frame["of_best"]].groupby("setting")["number"].unique()
    assert {k: v.tolist() for k, v in best.items()} == {"9": [1], "10": [2]}
    least = content.sensitivity_frame(study(rows, (AUC | {"direction": "minimize"},)))
    assert set(least.loc[least["of_best"], "number"]) == {0, 3}


def test_sensitivity_leaves_out_parameters_of_many_values():
    rows = [trial(i, k=i, valid_auc=0.7) for i in range(content.FEW + 1)]
    assert content.sensitivity_frame(study(rows)).empty
    assert len(content.sensitivity_frame(study(rows[1:]))) == 3 * content.FEW


def test_parallel_heights_are_places_along_the_axes():
    rows = [
        trial(0, lam=1e-4, k=12, metric="scatter", theta=0.9, valid_auc=0.7),
        trial(1, lam=1e-1, k=1, metric="euclidean", valid_auc=0.8),
    ]
    frame = content.parallel_frame(study(rows))
    heights = frame.pivot(index="number", columns="parameter", values="height")
    assert heights.loc[0, ["lam", "k", "metric", "theta"]].tolist() == pytest.approx([0, 1, 0.5, 1])
    assert heights.loc[1, ["lam", "k", "metric"]].tolist() == pytest.approx([1, 0, 0])
    assert math.isnan(heights.loc[1, "theta"])
    assert content.parallel_frame(study(rows[:1])).empty, "one line says nothing"


def test_importances_are_ordered_within_their_objective():
    frame = content.importances_frame(whole(several=True))
    assert frame["objective"].tolist() == ["valid_auc"] * 4 + ["embedding_bytes"] * 4
    assert frame["param"].tolist()[:4] == ["lam", "k", "tau", "metric"]


def test_the_front_is_what_no_trial_betters():
    aucs, sizes = [0.8, 0.9, 0.7, 0.8, 0.85], [10, 30, 20, 10, 30]
    rows = [
        trial(i, valid_auc=a, embedding_bytes=b) for i, (a, b) in enumerate(zip(aucs, sizes, strict=True))
    ]
    frame = content.pareto_frame(study(rows, (AUC, BYTES)))
    assert frame.loc[frame["front"], "number"].tolist() == [0, 1, 3], "equal trials are both on it"
    third = {"name": "valid_logloss", "direction": "minimize"}
    rows = [row | {"valid_logloss": 0.5} for row in rows]
    assert frame.equals(content.pareto_frame(study(rows, (AUC, BYTES, third)))[: len(rows)])
    assert len(content.pareto_frame(study(rows, (AUC, BYTES, third)))) == 3 * len(rows)
    assert content.pareto_frame(study(rows)).empty, "one objective has no front"


def test_curves_break_where_a_phase_ended_early():
    steps = {0: [0, 1, 2, 8, 9, 16], 1: [0, 1, 2, 3], 2: [0]}
    states = ["complete", "pruned", "running"]
    curves = [
        {"number": n, "state": states[n], "step": s, "value": 0.7} for n, own in steps.items() for s in own
    ]
    rows = [trial(0, valid_auc=0.7, best=True), trial(1, "pruned"), trial(2, "running")]
    frame = content.curves_frame(study(rows, curves=pd.DataFrame(curves[::-1])))
    assert frame.loc[frame["number"] == 0, "part"].tolist() == [0, 0, 0, 1, 1, 2]
    assert frame.loc[frame["number"] == 1, "part"].tolist() == [0, 0, 0, 0]
    assert set(frame["number"]) == {0, 1}
    assert frame.groupby("number")["best"].first().tolist() == [True, False]


WORDS = {
    "history": ["trial", "validation AUC", "best so far", "pruned: no value", "failed: no value"],
    "slice": ["lam", "tau", "k", "metric", "theta", "cosine", "best trial", "0.0001"],
    "contour": ["lam", "k", "validation AUC", "best trial", "the method's defaults"],
    "sensitivity": ["k", "metric", "seed 2", "best trial of the value", "mean over trials"],
    "parallel": ["lam", "theta", "not asked", "euclidean", "validation AUC"],
    "importances": ["lam", "share of importance", ".50"],
    "pareto": ["embedding size", "validation AUC (more is better)", "(less is better)", "dominated"],
    "curves": ["complete", "pruned", "best trial", "validation AUC"],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_without_a_warning_and_says_what_it_shows(name):
    from nasbench_rec.reports.figures import svg

    found = texts(svg(FIGURES[name](whole(several=name == "pareto"))))
    assert not [word for word in WORDS[name] if word not in found]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_figures_can_be_drawn_of_few_and_of_many(name):
    from nasbench_rec.reports.figures import svg

    drawn = {n: FIGURES[name](few(n)) for n in (1, 2, 3)}
    least = {"contour": 2, "sensitivity": 2, "parallel": 2, "importances": 99, "pareto": 99}.get(name, 1)
    assert [n for n, figure in drawn.items() if figure is not None] == [n for n in drawn if n >= least]
    for figure in [*drawn.values(), FIGURES[name](whole(70, several=True, datasets=2, seeds=9))]:
        assert figure is None or svg(figure).startswith(b"<?xml")


def test_a_contour_of_few_trials_says_so():
    from nasbench_rec.reports.figures import svg

    assert "complete trials: 3, too few to fill in between" in texts(svg(FIGURES["contour"](few(3))))


@pytest.mark.parametrize("state", ["none", "waiting", "failed"])
def test_nothing_is_drawn_where_nothing_is_there(state, tmp_path):
    rows = [] if state == "none" else [trial(i, state, reason="ValueError: no") for i in range(3)]
    frames = study(rows, (AUC, BYTES), units=study([trial(0, valid_auc=0.7)]).units.iloc[:0])
    assert not [name for name, figure in FIGURES.items() if figure(frames) is not None]
    assert {path.suffix for path in write_study(frames, tmp_path)} == {".csv", ".md"}
    text = (tmp_path / "look.md").read_text("utf-8")
    assert "No trial is complete: there is no best configuration." in text
    assert "nothing to show in it: history, slice" in text
    assert ("3 failed (trials 0, 1, 2): ValueError: no" in text) == (state == "failed")
    print_study(frames, Console(file=io.StringIO()))


def compared(best: float, default: float | None) -> StudyFrames:
    rows = [trial(0, "failed" if default is None else "complete", valid_auc=default or math.nan, lam=0.01)]
    rows.append(trial(1, valid_auc=best, lam=0.0012345678901234, k=2.0, metric="cosine", best=True))
    if default is not None and default > best:
        rows[0]["best"], rows[1]["best"] = True, False
    return study(rows)


def page(frames: StudyFrames) -> str:
    return _study_writers.markdown(frames, {})


def test_the_best_stands_beside_the_default_with_the_difference():
    text = page(compared(0.8123, 0.8102))
    said = "Trial 1 is best: .8123, the method's defaults .8102, difference +.0021 (better in 3 of 3 units"
    assert said in text
    rows = [line for line in text.split("## Best configuration")[1].splitlines() if line.startswith("| ")]
    assert rows[2].startswith("| 1 (best) | .8123 | +.0021 | 0.001235 |")
    assert rows[3].startswith("| 0 (default) | .8102 |  | 0.01 |")
    assert "In full: lam = 0.0012345678901234, k = 2, metric = cosine." in text
    assert "on validation data, and the best of many trials is partly luck" in text


def test_without_a_lead_or_without_a_default_the_page_says_so():
    assert "No trial is better than the method's defaults: .8200." in page(compared(0.81, 0.82))
    text = page(compared(0.81, None))
    assert "Trial 1 is best: .8100. The method's defaults have no value to compare with." in text


def test_the_best_of_a_loss_is_the_lowest():
    loss = {"name": "valid_logloss", "direction": "minimize"}
    rows = [trial(i, valid_logloss=v, best=i == 2) for i, v in enumerate([0.5, 0.6, 0.4])]
    text = page(study(rows, (loss,)))
    assert "Trial 2 is best: .4000, the method's defaults .5000, difference -.1000." in text
    listed = re.findall(r"^\| (\d)[ |(]", text.split("## Top 3")[1].split("## Trials")[0], flags=re.M)
    assert listed == ["2", "0", "1"]


def with_a_lost_trial() -> StudyFrames:
    frames = whole()
    lost = trial(30, "failed", reason="the worker died", lost=True)
    return dataclasses.replace(frames, trials=pd.concat([frames.trials, pd.DataFrame([lost])]))


def test_files_hold_tables_counts_savings_and_figures_and_repeat(tmp_path):
    frames = with_a_lost_trial()
    paths = write_study(frames, tmp_path / "new")
    figures = {f"{n}.{form}" for n in FIGURES if n != "pareto" for form in ("svg", "pdf")}
    assert {path.name for path in paths} == figures | {"look.csv", "look-units.csv", "look.md"}
    assert {path.name for path in paths} == {path.name for path in (tmp_path / "new").iterdir()}
    table = pd.read_csv(tmp_path / "new/look.csv")
    assert table["valid_auc"].tolist() == pytest.approx(frames.trials["valid_auc"].tolist(), nan_ok=True)
    assert len(pd.read_csv(tmp_path / "new/look-units.csv")) == len(frames.units)
    again = write_study(with_a_lost_trial(), tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_the_page_counts_trials_and_says_what_the_cache_saved():
    text = _study_writers.markdown(with_a_lost_trial(), {"sensitivity": True, "pareto": False})
    assert "30 trials: 24 complete, 4 pruned, 2 failed. 1 more were lost with their worker" in text
    assert "- 2 failed (trials 9, 22): ValueError: loss is nan\n" in text
    assert "- 4 pruned (trials 5, 12, 19, 26): behind the median at step 4\n" in text
    assert "24 of 168 stages were found in the cache (search 24 of 84, train 0 of 84)" in text
    assert "saved 10.0 min, 25% of what they would have cost; computing the others took 30.0 min." in text
    assert "| lam | 0.0001 to 0.1, logarithmic |  | .50 |" in text
    assert "| theta | 0.1 to 0.9 | metric = scatter |  |" in text
    assert "## Top 10 of 24 complete trials" in text
    assert "![sensitivity](sensitivity.svg)" in text
    assert "nothing to show in it: pareto." in text


def test_several_objectives_have_a_front_instead_of_a_best():
    frames = whole(several=True)
    text = page(frames)
    count = int(frames.trials["best"].sum())
    assert f"{count} of 24 complete trials are on the Pareto front." in text
    block = text.split("## Pareto front")[1].split("## Top 10")[0]
    assert len(re.findall(r"^\| \d+ \(front", block, flags=re.M)) == count
    top = text.split("## Top 10")[1].split("## Trials")[0]
    assert len(re.findall(r"^\| \d+ \(front", top, flags=re.M)) == min(count, 10), "the front comes first"
    assert "KiB" in block


def test_asked_contours_are_drawn():
    from nasbench_rec.reports.figures import svg

    assert {"tau", "theta"} <= set(texts(svg(figures_with([("tau", "theta")])["contour"](whole(9)))))


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(ConfigError, match="unknown parameter"):
        write_study(study([]), tmp_path / "new", contour=(("tau", "nope"),))
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        write_study(study([]), tmp_path / "file")


def test_foreign_text_is_inert():
    text = page(hostile())
    assert "<script" not in text
    assert "\x1b" not in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    for block in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


@pytest.mark.parametrize("name", ["slice", "contour", "sensitivity", "parallel", "importances"])
def test_foreign_text_in_a_figure_is_text(name):
    from nasbench_rec.reports.figures import svg

    drawn = svg(FIGURES[name](hostile()))
    assert b"<script" not in drawn
    assert "<script>al" in "".join(texts(drawn)), "as it is, no markup and no mathematics"


@pytest.mark.parametrize("width", [80, 120, 400])
@pytest.mark.parametrize("several", [False, True])
def test_printed_tables_fit_and_say_what_is_left_out(width, several):
    console = Console(width=width, record=True, file=io.StringIO())
    print_study(whole(several=several), console, top=4)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "Top 4 of 24 complete trials" in text
    assert "2 failed (trials 9, 22): ValueError: loss is nan" in text
    assert "24 of 168 stages were found in the cache" in text
    assert "partly luck" in text
    assert ("Not shown at this width" in text) == (width < 120 or (several and width == 120))


def test_hostile_names_are_printed_without_markup_or_control():
    console = Console(width=200, record=True, file=io.StringIO())
    print_study(hostile(), console)
    text = console.export_text()
    assert "\x1b[31m" not in text
    assert "alert(1)" in text


@pytest.mark.parametrize("name", ["slice", "sensitivity", "contour", "history"])
@pytest.mark.parametrize("make", [whole, hostile])
def test_names_at_an_axis_do_not_overlap(name, make):
    from nasbench_rec.reports._drawing import style

    figure = FIGURES[name](make())
    with style():
        figure.canvas.draw()
        for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
            low, high = sorted(axis.get_view_interval())
            shown = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            boxes = [label.get_window_extent() for label in shown if label.get_text()]
            assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


def test_import_is_light_and_writing_loads_nothing_of_the_engines(tmp_path):
    script = f"""
import io, json, sys
import nasbench_rec.reports.study
print(json.dumps(list(sys.modules)))
from pathlib import Path
import pandas as pd
from rich.console import Console
from nasbench_rec.reports.study import StudyFrames, print_study, write_study
trials = pd.DataFrame([dict(number=i, state="complete", reason="", seconds=1.0, default=i == 0, lost=False,
    best=i == 2, valid_auc=0.7 + i / 100, **{{"param.lam": 0.1 ** i, "param.k": i % 3}}) for i in range(6)])
units = trials.assign(dataset="d", backbone="b", seed=0, split_seed=0)
curves = pd.DataFrame([dict(number=0, state="complete", step=s, value=0.7) for s in range(4)])
weights = pd.DataFrame([dict(objective="valid_auc", param="lam", importance=1.0)])
space = [dict(name="lam", type="float", low=1e-6, high=1.0, log=True), dict(name="k", type="int", low=0, high=2)]
goal = [dict(name="valid_auc", direction="maximize")]
frames = StudyFrames("n", "t", "q", "ray", trials, units, curves, weights, space, goal, {{}})
write_study(frames, Path({str(tmp_path)!r}))
print_study(frames, Console(file=io.StringIO()))
print(json.dumps(list(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported, in_the_end = (set(json.loads(line)) for line in done.stdout.splitlines())
    engines = {"torch", "ray", "sklearn", "optuna"}
    assert not imported & (engines | {"matplotlib", "seaborn", "scipy", "rich"})
    assert not in_the_end & engines
    assert (tmp_path / "contour.svg").exists()


def test_signs_of_failure_stand_beside_the_trials_and_are_counted():
    found = whole()
    health = ["static-masks, one-cluster", "", "one-cluster"] * len(found.trials)
    marked = dataclasses.replace(found, trials=found.trials.assign(health=health[: len(found.trials)]))
    said = _study_rows.health_words(marked)
    complete = marked.complete["health"]
    assert f"one-cluster in {complete.str.contains('one-cluster').sum()}" in said
    assert _study_rows.health_words(found) == ""
    best = _study_rows.best_and_default(marked)[0]
    assert best.health == marked.trials.set_index("number").loc[best.number, "health"]
