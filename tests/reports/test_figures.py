"""The figure's frame by hand, what is drawn, and that labels keep clear of each other."""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ElementTree

import matplotlib
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasbench_rec.reports import auc_over_bytes_frame, draw_auc_over_bytes, figures
from nasbench_rec.reports._labels import Box, place_labels

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: bytes) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_points_by_hand(record):
    rows = [
        record("m @ 1/2", "m", s, ratio=0.5, test_auc=a, embedding_bytes=b)
        for s, (a, b) in enumerate([(0.70, 100), (0.72, 130), (0.74, 100)])
    ]
    point = auc_over_bytes_frame(pd.DataFrame(rows)).iloc[0]
    half = 4.302653 * 0.02 / math.sqrt(3)
    assert point[["embedding_bytes", "bytes_low", "bytes_high", "n", "failed"]].tolist() == [
        110,
        100,
        130,
        3,
        0,
    ]
    expected = [0.72, 0.72 - half, 0.72 + half]
    assert point[["test_auc", "test_auc_low", "test_auc_high"]].tolist() == pytest.approx(expected, abs=1e-6)
    assert not point["uniform"]


def test_every_label_has_a_point_even_without_success(records):
    points = auc_over_bytes_frame(records)
    assert len(points) == 16
    lost = points[points["n"] == 0]
    assert lost[["backbone", "label", "failed"]].values.tolist() == [["dnn", "autoemb @ 1/2", 3]]
    assert points["uniform"].sum() == 2


def test_figure_names_axes_methods_the_uniform_model_and_what_is_missing(records):
    found = texts(figures.svg(draw_auc_over_bytes(auc_over_bytes_frame(records))))
    for text in (
        "embedding size (bytes, logarithmic)",
        "test AUC, mean over seeds",
        "planted, dnn",
        "fixed (uniform)",
        "autodim",
        "ihas/robust",
        "256 KiB",
        "without a point, as all units failed: autoemb @ 1/2",
    ):
        assert text in found
    assert found.count("ihas/robust") == 2, "a curve is named once in each panel"


def test_text_is_neither_mathematics_nor_markup(records):
    name = r"$\frac{<script>&"
    records = records.replace({"label": {"autodim": name}, "method": {"autodim": name}})
    records["dataset"] = name
    svg = figures.svg(draw_auc_over_bytes(auc_over_bytes_frame(records)))
    assert b"<script" not in svg
    assert name in texts(svg)
    assert f"{name}, dnn" in texts(svg)


def test_same_points_give_the_same_bytes(records):
    points = auc_over_bytes_frame(records)
    for form in (figures.svg, figures.pdf):
        assert form(draw_auc_over_bytes(points)) == form(draw_auc_over_bytes(points))


def test_global_settings_neither_change_nor_matter(records):
    points = auc_over_bytes_frame(records)
    before = figures.svg(draw_auc_over_bytes(points))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.usetex": True}):
        kept = dict(matplotlib.rcParams)
        assert figures.svg(draw_auc_over_bytes(points)) == before
        assert dict(matplotlib.rcParams) == kept


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seeds", [1, 2, 6])
def test_any_number_of_seeds_can_be_drawn(many_records, seeds):
    points = auc_over_bytes_frame(many_records(seeds))
    assert figures.pdf(draw_auc_over_bytes(points)).startswith(b"%PDF")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [0.0, 1.0, 5e10])
def test_one_point_alone_can_be_drawn(record, size):
    frame = pd.DataFrame([record("名前", "m", 0, test_auc=0.7, embedding_bytes=size)])
    assert "名前" in texts(figures.svg(draw_auc_over_bytes(auc_over_bytes_frame(frame))))


def test_a_panel_without_any_success_says_so(records, failing):
    failing(records, records["backbone"] == "dnn", "OSError: disk full")
    assert "no unit succeeded" in texts(figures.svg(draw_auc_over_bytes(auc_over_bytes_frame(records))))


def test_inline_figures_share_no_ids(records):
    points = auc_over_bytes_frame(records)
    ids = []
    for name, part in points.groupby("backbone"):
        root = ElementTree.fromstring(figures.inline_svg(part, f"{name}-"))
        ids.append({element.get("id") for element in root.iter()} - {None})
    assert ids[0]
    assert not ids[0] & ids[1]


def test_labels_of_a_crowd_do_not_overlap():
    frame = Box(0, 0, 400, 240)
    spots = [(180.0 + 6 * i, 120.0 + 5 * (i % 3)) for i in range(9)]
    marks = [Box(x - 3, y - 3, x + 3, y + 3) for x, y in spots]
    boxes = place_labels(spots, [(70.0, 9.0)] * 9, marks, frame)
    assert not any(a.overlap(b) for a, b in itertools.combinations(boxes, 2))
    assert all(frame.holds(box) for box in boxes)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 240)), max_size=12))
def test_each_spot_gets_a_box_of_its_size(spots):
    boxes = place_labels(spots, [(50.0, 9.0)] * len(spots), [], Box(0, 0, 400, 240))
    assert [(box.right - box.left, box.top - box.bottom) for box in boxes] == [
        pytest.approx((50.0, 9.0))
    ] * len(spots)


def test_a_leader_goes_around_other_marks_where_it_can():
    spot, frame = (100.0, 100.0), Box(0, 0, 200, 200)
    wall = [Box(106, 60, 108, 140)]
    (box,) = place_labels([spot], [(40.0, 9.0)], wall, frame)
    assert box.right <= 106, "left of the wall, though the right side is tried first"


def test_a_long_title_takes_two_lines(records):
    records["dataset"] = "planted (" + ", ".join(f"setting{i}=1" for i in range(20)) + ")"
    figure = draw_auc_over_bytes(auc_over_bytes_frame(records))
    assert {axes.get_title(loc="left").count("\n") for axes in figure.axes} == {1}


@pytest.fixture
def crowd(record):
    """Twenty-two methods at two sizes each, of known levels and of none, with two that are far off."""

    def build(**values):
        names = [
            "fixed",
            "random",
            "mde",
            "autodim",
            "pca",
            "sseds",
            "irazor",
            "dimreg",
            "ihas",
            "amtl",
            "optfs",
        ]
        names += [
            "pep",
            "lottery",
            "shaver",
            "deeplight",
            "hash",
            "qr",
            "ttrec",
            "mine.py:Mine",
            "constant",
            "pca/x",
        ]
        rows = []
        for i, name in enumerate([*names, "magnitude"]):
            for seed in range(2):
                for ratio, size in ((float("nan"), 1000),) if name == "fixed" else ((0.5, 500), (0.2, 200)):
                    label = name if name == "fixed" else f"{name} @ {ratio}"
                    auc = 0.8 - 0.001 * i - 0.01 * (size == 200) + 0.001 * seed
                    extra = {"test_auc": 0.5 if name == "shaver" else auc}
                    extra |= {"embedding_bytes": 2 if name == "constant" else size, "ratio": ratio, **values}
                    rows.append(record(label, name, seed, **extra))
        return auc_over_bytes_frame(pd.DataFrame(rows), levels)

    levels = dict.fromkeys(("random", "mde", "autodim", "pca", "sseds", "irazor"), "field")
    levels |= dict.fromkeys(("fixed", "hash", "qr", "ttrec"), "table") | {
        "dimreg": "column",
        "ihas": "instance",
    }
    levels |= dict.fromkeys(("pep", "lottery", "shaver", "deeplight", "magnitude"), "entry")
    levels |= {"amtl": "row", "optfs": "row", "constant": "none"}
    return build


def test_without_levels_all_stand_in_one_panel(crowd):
    assert len(draw_auc_over_bytes(crowd().assign(level=None)).axes) == 1


def test_many_methods_stand_in_panels_by_what_they_decide(crowd):
    figure = draw_auc_over_bytes(crowd())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [t.partition(": ")[2].replace("\n", " ") for t in titles] == [
        "widths of fields",
        "columns, or what each sample uses",
        "widths of feature values",
        "single entries",
        "the whole table or model",
        "other methods",
    ]
    limits = {(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}
    assert len(limits) == 1, "panels of one data set can be compared"
    words = texts(figures.svg(figure))
    assert words.count("fixed (uniform)") == words.count("random") == 6
    for name in ("mde", "pca", "pca/x", "dimreg", "amtl", "pep", "qr", "mine.py:Mine"):
        assert words.count(name) == 1


def test_points_far_from_all_others_are_named_below(crowd):
    figure = draw_auc_over_bytes(crowd())
    words = " ".join(texts(figures.svg(figure)))
    assert "off the axes: shaver @ 0.2 (200 B, .5000), shaver @ 0.5 (500 B, .5000)" in words
    assert "off the axes: constant @ 0.2 (2 B" in words
    low, _ = figure.axes[0].get_ylim()
    assert low > 0.7 and figure.axes[0].get_xlim()[0] > 50


def test_a_block_of_panels_begins_its_own_row(crowd, record):
    one = crowd()
    few = auc_over_bytes_frame(pd.DataFrame([record("fixed", "fixed", 0, test_auc=0.7, embedding_bytes=9.0)]))
    figure = draw_auc_over_bytes(pd.concat([one, few.assign(dataset="aaa"), few.assign(dataset="zzz")]))
    rows = [round(axes.get_position().y0, 4) for axes in figure.axes]
    assert rows[0] > rows[1] == rows[2] > rows[3] == rows[4] > rows[5] == rows[6] > rows[7]
