"""Drawers of what a search for gates and clusters did; each draws one frame of `_ablation_frames`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_frames import TREND
from nasbench_rec.reports._ablation_grid import (
    DASHES,
    GROUP,
    Margins,
    colour,
    grid,
    inches,
    locator,
    names_down,
    panel_title,
    panels,
    room_for,
    sections,
    shift_for_names,
    where,
)
from nasbench_rec.reports._drawing import INK, LINE, MARKERS, MUTED
from nasbench_rec.reports._text import fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHADES = "Blues"
TREND_LABELS = {
    "mean": "mean probability",
    "near_0": "share of gates below .1",
    "near_1": "share of gates above .9",
    "hamming": "Hamming distance between samples' masks",
}
CELL = 0.26
"""Side of a cell of a map, in inches."""
FEW_GATES = 0.5
"""Share of probabilities near 0 or 1 from which a search counts as bimodal in the words of a figure."""
ONE_MASK = 0.05
"""Mean share of differing gates below which samples have about one mask in the words of a figure."""
ANNOTATED_FIELDS = 24
PLATE: dict[str, Any] = {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1}}
HEAD, FOOT = 0.42, 0.4
"""Space above a map for its title, and below one for the scale of the bars beside it, in inches."""


def draw_trend(frame: pd.DataFrame) -> Figure:
    """Draw the mean and range over seeds of each trend value over epochs, a panel per variant."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    parts = list(panels(frame))
    page = grid([title for title, _ in parts], head=0.58 if len(parts) < 3 else 0.42)
    for axes, (_, part) in zip(page.panels, parts, strict=True):
        _trend(axes, part)
    page.label("epoch", "share, or mean probability")
    handles: list[Any] = [
        Line2D([], [], color=colour(i), linestyle=DASHES[i], label=TREND_LABELS[name])
        for i, name in enumerate(TREND)
    ]
    page.legend([*handles, Patch(color=LINE, label="warm-up, no gates")], columns=2 if page.across < 3 else 3)
    return page.figure


def _trend(axes: Axes, part: pd.DataFrame) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = part.groupby("epoch")
    for epoch in epochs["gated"].all().loc[lambda gated: ~gated].index:
        axes.axvspan(epoch - 0.5, epoch + 0.5, color=LINE, linewidth=0)
    for i, name in enumerate(TREND):
        values = epochs[name].agg(["mean", "min", "max"]).dropna()
        axes.fill_between(values.index, values["min"], values["max"], color=colour(i), alpha=0.2, linewidth=0)
        mark = "." if len(values) == 1 else ""
        axes.plot(
            values.index, values["mean"], color=colour(i), linestyle=DASHES[i], marker=mark, linewidth=1.4
        )
    axes.set(xlim=(part["epoch"].min() - 0.5, part["epoch"].max() + 0.5), ylim=(-0.02, 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def draw_histogram_over_time(frame: pd.DataFrame) -> Figure:
    """Draw a heat map of epochs by probability bins per variant, all on one square-root scale of colour."""
    from matplotlib.colors import PowerNorm

    parts = list(panels(frame))
    page = grid([title for title, _ in parts], aside=0.95, head=0.05)
    scale = PowerNorm(0.5, vmin=0, vmax=max(float(frame["share"].max()), 1e-9))
    mesh = None
    for axes, (_, part) in zip(page.panels, parts, strict=True):
        table = part.pivot_table(index="low", columns="epoch", values="share", dropna=False)
        table = table.reindex(columns=range(int(table.columns.min()), int(table.columns.max()) + 1))
        epochs = np.arange(table.shape[1] + 1) + int(table.columns[0]) - 0.5
        mesh = axes.pcolormesh(epochs, np.append(table.index, 1.0), table, cmap=SHADES, norm=scale)
        axes.set_facecolor(LINE)
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    page.label("epoch", "gate probability")
    page.colour_bar(mesh, "share of gates")
    return page.figure


def draw_histogram(frame: pd.DataFrame) -> Figure:
    """Draw the final probabilities of training and search rows per variant, with the cut of the masks."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    parts = list(panels(frame))
    page = grid([title for title, _ in parts])
    for axes, (_, part) in zip(page.panels, parts, strict=True):
        for cut in sorted(part["cut"].dropna().round(3).unique()):
            axes.axvline(cut, color=INK, linewidth=0.9, linestyle=DASHES[1])
        for rows, shares in part.groupby("rows"):
            means = shares.groupby(["low", "width"], as_index=False)["share"].mean()
            edges = np.append(means["low"], means["low"].iloc[-1] + means["width"].iloc[-1])
            if rows == "train":
                axes.stairs(means["share"], edges, fill=True, color=colour(0), alpha=0.45)
            else:
                axes.stairs(means["share"], edges, color=colour(1), linewidth=1.1)
        axes.set(xlim=(0, 1), ylim=(0, None))
        axes.text(
            0.5, 0.97, _middle(part), transform=axes.transAxes, ha="center", va="top", fontsize=7, **PLATE
        )
        axes.xaxis.set_major_locator(locator(5))
    page.label("gate probability", "share of gates")
    page.legend(
        [
            Patch(color=colour(0), alpha=0.45, label="training rows"),
            Line2D([], [], color=colour(1), label="search rows"),
            Line2D([], [], color=INK, linestyle=DASHES[1], label="cut: a gate above it is on"),
        ]
    )
    return page.figure


def _middle(part: pd.DataFrame) -> str:
    """Say how much of the training rows' histogram lies between the peaks."""
    between = (
        (part["low"] >= 0.1 - 1e-9) & (part["low"] + part["width"] <= 0.9 + 1e-9) & (part["rows"] == "train")
    )
    units = part[part["rows"] == "train"].groupby(["split_seed", "seed"]).ngroups
    return f"{part.loc[between, 'share'].sum() / units:.0%} between .1 and .9" if units else ""


def draw_centroids(frame: pd.DataFrame) -> Figure:
    """Draw clusters by fields (mean kept share), beside the clusters' sizes, a row of panels per variant.

    Field names stand below the last of several maps with the same fields.
    """
    from matplotlib.figure import Figure

    parts = list(panels(frame))
    fields = [tuple(part["field"].unique()) for _, part in parts]
    body = max(2.8, CELL * max(map(len, fields)))
    last = [i + 1 == len(fields) or fields[i + 1] != names for i, names in enumerate(fields)]
    feet = [max(room_for(names, 20), FOOT) if end else 0.05 for names, end in zip(fields, last, strict=True)]
    tall = [CELL * part["cluster"].nunique() for _, part in parts]
    width, top = 0.8 + body + 2.2, sum(tall) + sum(feet) + HEAD * len(parts)
    figure = Figure(figsize=(width, top))
    mesh: Any = None
    for i, (title, part) in enumerate(parts):
        bottom = top - HEAD - tall[i]
        left = figure.add_axes(inches(figure, (0.8, bottom, body, tall[i])))
        right = figure.add_axes(inches(figure, (body + 0.95, bottom, 1.0, tall[i])))
        mesh = _centroid_map(left, part, named=last[i])
        _sizes(right, part, named=last[i])
        panel_title(left, f"{title}, {_seed(part)}: {_separation(part)}", int((body + 1.2) * 15))
        top = bottom - feet[i]
    height = float(figure.get_figheight())
    axes = figure.add_axes(inches(figure, (width - 0.7, height - HEAD - 0.9, 0.1, 0.9)))
    figure.colorbar(mesh, cax=axes, ticks=[0, 0.5, 1]).set_label("mean kept share")
    return figure


def _centroid_map(axes: Axes, part: pd.DataFrame, named: bool) -> Any:
    fields, clusters = list(part["field"].unique()), sorted(part["cluster"].unique())
    share = part.pivot_table(index="cluster", columns="field", values="share").loc[clusters, fields]
    mesh = axes.pcolormesh(share, cmap=SHADES, vmin=0, vmax=1, edgecolors="white", linewidth=0.8)
    names = [fitted(f, 20) if named else "" for f in fields]
    axes.set_xticks(np.arange(len(fields)) + 0.5, names, rotation=90, parse_math=False)
    axes.set_yticks(np.arange(len(clusters)) + 0.5, [f"cluster {c}" for c in clusters])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    if len(fields) <= ANNOTATED_FIELDS:
        for row in part.dropna(subset=["columns"]).itertuples():
            ink = "white" if float(row.share) > 0.6 else INK  # type: ignore[arg-type]
            x, y = fields.index(row.field) + 0.5, clusters.index(row.cluster) + 0.5
            axes.text(x, y, f"{row.columns:.0f}", ha="center", va="center", fontsize=6.5, color=ink)
    return mesh


def _sizes(axes: Axes, part: pd.DataFrame, named: bool) -> None:
    sizes = part.groupby("cluster")["rows"].first()
    axes.barh(range(len(sizes)), sizes, height=0.62, color=colour(0))
    axes.set(xlim=(0, 1), yticks=[], ylim=(len(sizes) - 0.5, -0.5), xticks=[0, 0.5, 1])
    if named:
        axes.set_xlabel("share of rows")
    else:
        axes.tick_params(labelbottom=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for i, size in enumerate(sizes):
        inside = size > 0.55
        axes.text(
            *(size - 0.04 if inside else size + 0.04, i, f"{size:.0%}"),
            ha="right" if inside else "left",
            va="center",
            color="white" if inside else INK,
        )


def _separation(part: pd.DataFrame) -> str:
    first, clusters = part.iloc[0], part["cluster"].nunique()
    said = [f"separation {first['separation']:.2f}"] if math.isfinite(first["separation"]) else []
    if math.isfinite(first["silhouette"]):
        said.append(f"silhouette {first['silhouette']:.2f}")
    if math.isfinite(first["k_wanted"]) and first["k_wanted"] != clusters:
        said.append(f"{clusters} of {first['k_wanted']:.0f} clusters found")
    return ", ".join(said) or "no separation known"


def _seed(part: pd.DataFrame) -> str:
    return f"seed {part.iloc[0]['seed']}"


def draw_bimodality(frame: pd.DataFrame) -> Figure:
    """Draw mask differences over two signs of bimodality: a point per unit, a look per variant."""
    from matplotlib.lines import Line2D

    look = variant_looks(frame)
    names = [_entry(frame, keys) for keys in look]
    space = Margins(left=0.55, top=0.08, bottom=0.3, right=0.18)
    page = grid(["", ""], size=(3.05, 2.6), across=2, head=_legend_room(names), margins=space)
    top = max(0.5, 1.08 * float(frame["hamming"].max()))
    for axes, column in zip(page.panels, ("near", "dip"), strict=True):
        for keys, part in frame.groupby([*GROUP, "variant"], sort=False):
            axes.plot(part[column], part["hamming"], linestyle="", markersize=5, alpha=0.85, **look[keys])
        axes.axhline(ONE_MASK, color=MUTED, linewidth=0.8, linestyle=DASHES[1], zorder=1)
        axes.set_yscale("function", functions=(_root, np.square))
        axes.set_ylim(-0.001, top)
        axes.set_yticks([0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
    left, right = page.panels
    left.axvline(FEW_GATES, color=MUTED, linewidth=0.8, linestyle=DASHES[1], zorder=1)
    _quadrants(left)
    right.set_xlim(0, max(0.12, 1.1 * float(frame["dip"].fillna(0).max())))
    right.xaxis.set_major_locator(locator(5))
    page.label("", "Hamming distance between samples' masks\n(mean share of differing gates, root scale)")
    left.set_xlabel("share of probabilities below .1 or above .9")
    right.set_xlabel("dip statistic of the probabilities (0: one peak)")
    marks = [Line2D([], [], linestyle="", label=n, **m) for n, m in zip(names, look.values(), strict=True)]
    page.legend(marks, columns=_legend_columns(names))
    return page.figure


def _root(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.sqrt(np.abs(values))


def _quadrants(axes: Axes) -> None:
    """Say in words what each corner of near-share by mask difference means."""
    axes.set_xlim(-0.03, 1.03)
    words = {
        (0.02, 0.98): "undecided gates,\nmasks differ",
        (0.98, 0.98): "two peaks, masks differ:\ninstance-wise selection",
        (0.02, 0.03): "undecided gates,\nabout one mask for all",
        (0.98, 0.03): "two peaks, about one mask\nfor all: static selection",
    }
    for (x, y), text in words.items():
        across, down = "left" if x < 0.5 else "right", "bottom" if y < 0.5 else "top"
        axes.text(
            *(x, y, text), transform=axes.transAxes, ha=across, va=down, color=MUTED, fontsize=6.5, zorder=0
        )


def draw_agreement(frame: pd.DataFrame) -> Figure:
    """Draw how far the clusterings of each pair of seeds agree, per variant: points and their mean."""
    titles = ["adjusted Rand index", "adjusted mutual information"]
    names = [_entry(frame, keys) for keys in variant_looks(frame)]
    size = (2.2, 0.25 + 0.24 * len(names))
    page = grid(titles, size=size, across=2, head=0.02, margins=Margins(left=0.16, top=0.28, bottom=0.36))
    shift_for_names(page.figure, page.panels, room_for(names, 48))
    for axes, column in zip(page.panels, ("rand", "information"), strict=True):
        axes.set(xlim=(min(-0.05, float(frame[column].min(skipna=True)) - 0.05), 1.05))
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.axvline(1, color=MUTED, linewidth=0.8)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        names_down(axes, names if column == "rand" else [""] * len(names))
        for i, (_, part) in enumerate(frame.groupby([*GROUP, "variant"], sort=False)):
            known = part[column].dropna()
            axes.plot(
                known, [i] * len(known), "o", color=colour(0), alpha=0.45, markersize=5, markeredgewidth=0
            )
            axes.plot([known.mean()], [i], "|", color=INK, markersize=11, markeredgewidth=1.6)
            if known.empty:
                axes.text(0.5, i, "one cluster only", va="center", ha="center", color=MUTED)
        axes.set_xlabel("agreement of two seeds (0: chance)")
    return page.figure


def draw_threshold_curve(frame: pd.DataFrame) -> Figure:
    """Draw what each threshold costs: a thin line per cluster and seed, thick their mean weighted by rows."""
    from matplotlib.lines import Line2D

    parts = list(panels(frame))
    page = grid([title for title, _ in parts], margins=Margins(left=0.5))
    for axes, (_, part) in zip(page.panels, parts, strict=True):
        for _, line in part.groupby(["split_seed", "seed", "cluster"]):
            axes.plot(line["theta"], 1000 * line["excess"], color=colour(0), alpha=0.45, linewidth=0.8)
        chosen = part[part["chosen"]]
        axes.plot(
            chosen["theta"], 1000 * chosen["excess"], "v", color=colour(1), markersize=4.5, clip_on=False
        )
        known = part.dropna(subset=["excess"])
        weighted = (1000 * known["excess"] * known["rows"]).groupby(known["theta"]).sum()
        axes.plot(weighted / known.groupby("theta")["rows"].sum(), color=INK, linewidth=1.6)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    page.label("threshold on the mean mask", "logloss above the best\n(1/1000 nats)")
    page.legend(
        [
            Line2D([], [], color=INK, linewidth=1.6, label="mean, weighted by rows"),
            Line2D([], [], color=colour(0), alpha=0.45, linewidth=0.8, label="a cluster of one seed"),
            Line2D([], [], color=colour(1), linestyle="", marker="v", label="chosen"),
        ]
    )
    return page.figure


def draw_field_information(frame: pd.DataFrame) -> Figure:
    """Draw a heat map of variants by fields per data set: what of the clusters' entropy a field explains."""
    from matplotlib.figure import Figure

    parts = list(sections(frame))
    counts = [(part["variant"].nunique(), part["field"].nunique()) for _, part in parts]
    names, edge = room_for(frame["field"], 20), room_for(frame["variant"], 48)
    head = 0.3 if len(parts) > 1 else 0.08
    width = edge + max(2.6, CELL * max(n for _, n in counts)) + 0.95
    heights = [head + max(CELL * n, 1.0) + names for n, _ in counts]
    figure = Figure(figsize=(width, sum(heights)))
    top, mesh = figure.get_figheight(), None
    for (title, part), (_, fields), height in zip(parts, counts, heights, strict=True):
        tall = height - names - head
        place = (edge, top - height + names, max(2.6, CELL * fields), tall)
        axes = figure.add_axes(inches(figure, place))
        mesh = _information(axes, part)
        panel_title(axes, title if len(parts) > 1 else "", 80)
        bar = figure.add_axes(inches(figure, (width - 0.75, top - height + names, 0.1, tall)))
        figure.colorbar(mesh, cax=bar, ticks=[0, 0.5, 1]).set_label("share of the\nclusters' entropy")
        top -= height
    return figure


def _information(axes: Axes, part: pd.DataFrame) -> Any:
    variants, fields = list(part["variant"].unique()), list(part["field"].unique())
    table = part.pivot_table(index="variant", columns="field", values="share", dropna=False)
    table = table.reindex(index=variants, columns=fields)
    mesh = axes.pcolormesh(table, cmap=SHADES, vmin=0, vmax=1, edgecolors="white", linewidth=0.8)
    axes.set_facecolor(LINE)
    axes.set_xticks(
        np.arange(len(fields)) + 0.5, [fitted(f, 20) for f in fields], rotation=90, parse_math=False
    )
    axes.set_yticks(np.arange(len(variants)) + 0.5, [fitted(v, 48) for v in variants], parse_math=False)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    for (i, j), share in np.ndenumerate(table.to_numpy(dtype=float)):
        if share >= 0.05 and len(fields) <= ANNOTATED_FIELDS:
            ink = "white" if share > 0.6 else INK
            axes.text(
                j + 0.5,
                i + 0.5,
                f"{share:.2f}"[-3:] if share < 0.995 else "1",
                ha="center",
                va="center",
                fontsize=6,
                color=ink,
            )
    return mesh


def draw_calibration(frame: pd.DataFrame) -> Figure:
    """Draw each cluster's error of its mean prediction over its positive rate, a panel per variant."""
    from matplotlib.lines import Line2D

    parts, clusters = list(panels(frame)), sorted(frame["cluster"].unique())
    head = 0.15 + 0.178 * math.ceil(len(clusters) / 6)
    page = grid([title for title, _ in parts], margins=Margins(left=0.55), head=head)
    most = 1.1 * float((frame["error"].abs() + frame["noise"]).max())
    low, high = float(frame["rate"].min()), float(frame["rate"].max())
    pad = max(0.15 * (high - low), 0.01)
    for axes, (_, part) in zip(page.panels, parts, strict=True):
        axes.axhline(0, color=MUTED, linewidth=0.8)
        for i, (_, points) in enumerate(part.groupby("cluster")):
            mark = {"color": colour(i), "marker": MARKERS[i % len(MARKERS)], "markersize": 4.5}
            axes.errorbar(
                points["rate"], points["error"], points["noise"], linestyle="", elinewidth=0.9, **mark
            )
        axes.set(xlim=(low - pad, high + pad), ylim=(-most, most))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(locator(4))
    page.label("positive rate of the cluster", "mean prediction − positive rate")
    page.legend(
        [Line2D([], [], linestyle="", label=f"cluster {c}", **_cluster_look(c)) for c in clusters], columns=6
    )
    return page.figure


def _cluster_look(cluster: int) -> dict[str, Any]:
    return {"color": colour(cluster), "marker": MARKERS[cluster % len(MARKERS)], "markersize": 4.5}


def variant_looks(frame: pd.DataFrame) -> dict[Any, dict[str, Any]]:
    """Return a colour and a marker per data set, backbone and variant, in the order of the frame."""
    keys = list(frame.groupby([*GROUP, "variant"], sort=False).groups)
    return {key: {"color": colour(i), "marker": MARKERS[i % len(MARKERS)]} for i, key in enumerate(keys)}


def _entry(frame: pd.DataFrame, keys: Sequence[Any]) -> str:
    return fitted(f"{where(frame, keys)}{keys[2]}", 48)


def _legend_columns(names: Sequence[str]) -> int:
    """Return how many columns of names fit side by side above two panels."""
    return max(1, int(7.6 / (room_for(names, 48) + 0.5)))


def _legend_room(names: Sequence[str]) -> float:
    return 0.15 + 0.178 * math.ceil(len(names) / _legend_columns(names))
