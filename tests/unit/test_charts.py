"""Charts draw the series that they are given: the artists' data are compared with it, never pixels."""

import csv
import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_hex
from numpy.testing import assert_allclose, assert_array_equal

from fanlab.analysis.series import FaultWindow, HopLoss, Recovery
from fanlab.errors import EnvironmentFailure
from fanlab.report import words
from fanlab.report.charts import FIGURES, draw_all, table_csv
from fanlab.report.figures import cache, heatmap, hops, latency, recovery, resources, style, svg, traffic
from support.sample_report import NODES, empty_series, quiet_series, sample_series

HOSTILE = [
    "<script>alert(1)</script>",
    "$$",
    r"$\frac{1}{0}$",
    "</style><img src=x>",
    "[bold]",
    "\x1b[31m\x00",
    "a\nb",
    "\u202ereversed",
    "🔥" * 3,
    "x" * 5000,
    'url(#x)" style="fill:#0b69c7',
    "#0b69c7",
    "]]>&amp;",
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The sample's charts and the folder that they are in."""
    folder = tmp_path_factory.mktemp("charts")
    return draw_all(sample_series(), {}, folder), folder


def hostile_series():
    """The sample, with every name that a file may hold replaced by a hostile one."""
    series = sample_series()
    line, samples = series.ecdf_ms["node-1"], series.samples["cpu"]["redis"]
    per_node = len(series.heatmap_rows) // len(HOSTILE) + 1
    return replace(
        series,
        heatmap=np.ones_like(series.heatmap),
        heatmap_rows=[HOSTILE[row // per_node] for row in range(len(series.heatmap_rows))],
        ecdf_ms=dict.fromkeys(HOSTILE, line),
        ecdf_n=dict.fromkeys(HOSTILE, 100),
        faults=[FaultWindow(name, float(i) / 2, None) for i, name in enumerate(HOSTILE)],
        recoveries=[Recovery(name, 3, 1.0, 2.0, None, None) for name in HOSTILE],
        hop_losses=[HopLoss("client", name, name, 1 + i) for i, name in enumerate(HOSTILE)],
        caches=[replace(series.caches[0], node=name) for name in HOSTILE],
        samples={metric: dict.fromkeys(HOSTILE, samples) for metric in series.samples},
    )


SVG_TAGS = {"svg", "g", "path", "text", "tspan", "use", "image", "defs", "clipPath", "rect"}


def artist(axes, label):
    (found,) = [a for a in (*axes.lines, *axes.patches) if a.get_label() == label]
    return found


def all_text(figure):
    return " | ".join(t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_the_rate_chart_shows_both_rates_and_the_named_windows():
    series = sample_series()
    drawing = traffic.figure_rate(series)
    (axes,) = drawing.figure.axes
    width_s = np.diff(series.edges_s)
    for label, counts in (("offered", series.offered), ("delivered", series.delivered)):
        values, edges, _ = artist(axes, label).get_data()
        assert_allclose(values, counts / width_s)
        assert_array_equal(edges, series.edges_s)
    starts = [line.get_xdata()[0] for line in axes.lines]
    assert starts == [fault.start_s for fault in series.faults]
    assert "crash node-2" in all_text(drawing.figure)
    assert f"n = {int(series.offered.sum()):,} owed" in drawing.subtitle


def test_the_loss_chart_shows_losses_per_second():
    series = sample_series()
    drawing = traffic.figure_losses(series)
    (axes,) = drawing.figure.axes
    (steps,) = [patch for patch in axes.patches if hasattr(patch, "get_data")]
    assert_allclose(steps.get_data()[0] * np.diff(series.edges_s), series.lost)
    assert f"n = {int(series.lost.sum()):,} lost" in drawing.subtitle


def test_the_latency_chart_shows_lines_maxima_and_a_log_scale_where_the_range_asks_for_it():
    series = sample_series()
    drawing = latency.figure_latency(series)
    (axes,) = drawing.figure.axes
    for name, values in series.latency_ms.items():
        assert_array_equal(artist(axes, name).get_ydata(), values)
    assert artist(axes, "max").get_linestyle() == "None"
    assert axes.get_yscale() == "log"
    narrow = replace(series, latency_ms={"p50": np.full(series.latency_n.size, 3.0)})
    assert latency.figure_latency(narrow).figure.axes[0].get_yscale() == "linear"


def test_every_one_way_chart_says_how_exact_it_is():
    series = sample_series()
    figures = (latency.figure_latency, latency.figure_spectrum, latency.figure_ecdf)
    assert all(figure(series).subtitle.endswith("clock ± 0 ms") for figure in figures)
    apart = replace(series, notes=series.notes | {"clock": {"basis": "exchange", "bound_ms": 0.34}})
    assert all(figure(apart).subtitle.endswith("clock ± 0.34 ms") for figure in figures)


@pytest.mark.parametrize(
    ("clock", "told"),
    [
        ({"basis": "one-boot", "bound_ms": 0.0}, False),
        ({"basis": "exchange", "bound_ms": 0.34}, True),
        ({"basis": "unknown", "bound_ms": None}, True),
        (None, False),
    ],
)
def test_the_caches_chart_says_where_nobody_compared_clocks_with_the_nodes(clock, told):
    series = sample_series()
    notes = {name: note for name, note in series.notes.items() if name != "clock"} | ({"clock": clock} if clock else {})
    assert cache.figure_caches(replace(series, notes=notes)).subtitle.endswith(" · clock ± unknown") is told


def test_where_the_clocks_do_not_tell_any_latency_the_charts_say_so():
    none = (np.empty(0), np.empty(0))
    series = sample_series()
    far = {"clock": {"basis": "exchange", "bound_ms": 900.0}}
    refused = replace(series, spectrum=none, ecdf_ms=dict.fromkeys(series.ecdf_ms, none), notes=series.notes | far)
    spectrum, ecdf = latency.figure_spectrum(refused), latency.figure_ecdf(refused)
    n = f"{series.spectrum_n:,}"
    assert spectrum.missing == f"no latency above what is known of the clocks, n = {n} · clock ± 900 ms"
    assert ecdf.missing.startswith("no latency above what is known of the clocks, n = ")
    nobody = replace(refused, spectrum_n=0, ecdf_n=dict.fromkeys(series.ecdf_n, 0))
    assert latency.figure_spectrum(nobody).missing == "no deliveries to rank, n = 0"
    assert latency.figure_ecdf(nobody).missing == "no deliveries, n = 0"


def test_a_lone_interval_with_latencies_stays_visible():
    series = sample_series()
    alone = np.full(series.latency_n.size, np.nan)
    alone[40] = 3.0
    (axes,) = latency.figure_latency(replace(series, latency_ms={"p50": alone})).figure.axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [list(line.get_ydata()) for line in dots] == [[3.0]]


def test_the_spectrum_gives_each_nine_the_same_room():
    series = sample_series()
    drawing = latency.figure_spectrum(series)
    (axes,) = drawing.figure.axes
    curve = axes.lines[0]
    assert_allclose(curve.get_xdata(), 1 / (1 - series.spectrum[0] / 100))
    assert_allclose(curve.get_ydata(), series.spectrum[1])
    assert_allclose(latency.one_in(np.array([0, 90, 99])), [1, 10, 100])
    assert f"n = {series.spectrum_n:,}" in drawing.subtitle


def test_the_spectrum_of_a_single_delivery_is_a_dot():
    single = replace(sample_series(), spectrum=(np.array([0.0]), np.array([2.0])), spectrum_n=1)
    assert latency.figure_spectrum(single).figure.axes[0].lines[0].get_marker() == "o"


def test_the_ecdf_has_a_line_per_node_with_its_n():
    series = sample_series()
    drawing = latency.figure_ecdf(series)
    (axes,) = drawing.figure.axes
    for node, (x, share) in series.ecdf_ms.items():
        line = artist(axes, node)
        assert_array_equal(line.get_xdata(), x)
        assert_allclose(line.get_ydata(), share * 100)
        assert f"{node} {series.ecdf_n[node]:,}" in drawing.subtitle


def test_many_nodes_are_thinned_and_said_to_be():
    line = sample_series().ecdf_ms["node-1"]
    nodes = {f"node-{i}": (line[0] * (1 + i), line[1]) for i in range(60)}
    drawing = latency.figure_ecdf(replace(sample_series(), ecdf_ms=nodes, ecdf_n=dict.fromkeys(nodes, 10)))
    lines = drawing.figure.axes[0].lines
    assert {line.get_label() for line in lines if line.get_label() != "_other"} == {f"node-{i}" for i in range(54, 60)}
    assert len(lines) < 30
    assert "6 slowest of 60 nodes" in drawing.subtitle


def test_the_heatmap_holds_every_loss_in_its_node_s_block():
    series = sample_series()
    drawing = heatmap.figure_heatmap(series)
    axes = drawing.figure.axes[0]
    rows = np.asarray(series.heatmap_rows)
    assert len(axes.images) == len(NODES)
    for node, image in zip(NODES, axes.images, strict=True):
        assert_array_equal(image.get_array().filled(0), series.heatmap[rows == node])
        assert_allclose(image.get_extent()[:2], (series.edges_s[0], series.edges_s[-1]))
        lost = int(series.heatmap[rows == node].sum())
        assert f"{lost:,} lost" in all_text(drawing.figure)
    tops = [image.get_extent()[3] for image in axes.images]
    assert tops == sorted(tops), "blocks stand in the order of the rows"
    marks = [line.get_xdata()[0] for line in axes.lines]
    assert sorted(marks) == sorted(x for fault in series.faults for x in (fault.start_s, fault.end_s))


def test_the_heatmap_keeps_apart_nodes_whose_rows_are_mixed():
    series = sample_series()
    order = np.argsort(np.arange(60) % 3, kind="stable")[np.argsort(np.arange(60) // 3)]
    mixed = replace(series, heatmap=series.heatmap[order], heatmap_rows=[series.heatmap_rows[i] for i in order])
    groups = {group.node: group for group in heatmap.group_rows(mixed.heatmap, mixed.heatmap_rows)}
    for group in heatmap.group_rows(series.heatmap, series.heatmap_rows):
        assert (groups[group.node].lost, groups[group.node].hit) == (group.lost, group.hit)


def test_a_heatmap_whose_rows_stand_for_several_clients_says_so():
    drawing = heatmap.figure_heatmap(replace(sample_series(), notes={"clients_per_row": 25}))
    assert "rows of 25 clients" in drawing.subtitle


def test_of_many_nodes_the_heatmap_shows_the_worst():
    series = sample_series()
    cells = np.zeros((100, series.lost.size))
    cells[:, 5] = np.arange(100)
    many = replace(series, heatmap=cells, heatmap_rows=[f"node-{i}" for i in range(100)])
    drawing = heatmap.figure_heatmap(many)
    assert "24 worst of 100 nodes" in drawing.subtitle
    assert "node-99" in all_text(drawing.figure)
    assert "node-3 " not in all_text(drawing.figure)


def bands(axes, color):
    """How tall each curved band of a colour is at its two ends."""
    found = [p for p in axes.patches if hasattr(p, "get_path") and len(p.get_path().vertices) == 11]
    found = [p for p in found if to_hex(p.get_facecolor()) == style.LIGHT[color]]
    return [(abs(v[1][1] - v[8][1]), abs(v[4][1] - v[5][1])) for v in (p.get_path().vertices for p in found)]


def test_each_loss_leaves_the_path_at_its_hop_as_wide_as_its_share():
    series = sample_series()
    drawing = hops.figure_hops(series)
    (axes,) = drawing.figure.axes
    lost = int(series.lost.sum())
    shares = [one.lost / lost for one in series.hop_losses]
    to_fault = bands(axes, "fault")
    assert_allclose([near for near, _ in to_fault], [near for _, near in to_fault])
    assert_allclose(sorted(near for near, _ in to_fault), sorted(1.3 * share for share in shares))
    shown = all_text(drawing.figure)
    for said in ("280 lost", "20 lost", "769 lost", "789 lost", "none lost", "280  resubscribe gap",
                 "crash node-2 @2s", "28,800 deliveries owed", "27,731 delivered",
                 "the node died with it on the way"):  # fmt: skip
        assert said in shown, said
    assert "hop unknown" not in shown
    stations = [line.get_ydata()[0] for line in axes.lines if line.get_label() == "_station"]
    assert stations == sorted(stations)
    assert len(stations) == 5
    assert [row[3] for row in drawing.rows] == [one.lost for one in series.hop_losses]
    assert "Lost by hop: publisher → Redis 0, Redis → node 280, node → socket 20, socket → client 769." in drawing.alt


def test_a_loss_lies_between_the_stations_of_its_hop():
    for number, hop in enumerate(words.HOPS):
        series = replace(sample_series(), hop_losses=[HopLoss(hop, "unexplained", "", 9)])
        (axes,) = hops.figure_hops(series).figure.axes
        stations = [line.get_ydata()[0] for line in axes.lines if line.get_label() == "_station"]
        (label,) = [t for t in axes.texts if t.get_text() == "9 lost" and t.get_position()[0] < 2]
        assert stations[number] < label.get_position()[1] < stations[number + 1], hop


def test_a_hop_that_nobody_knows_stands_apart_from_the_path():
    series = replace(
        sample_series(),
        hop_losses=[HopLoss("client", "never_returned", "", 5), HopLoss("unknown", "node_crash_in_flight", "c", 3)],
    )
    drawing = hops.figure_hops(series)
    (axes,) = drawing.figure.axes
    below = max(line.get_ydata()[0] for line in axes.lines if line.get_label() == "_station")
    (label,) = [t for t in axes.texts if t.get_text() == "hop unknown"]
    assert label.get_position()[1] > below
    assert "no fault of the scenario" in all_text(drawing.figure)
    assert "hop unknown 3" in drawing.alt


def test_without_losses_the_hops_say_so():
    drawing = hops.figure_hops(quiet_series())
    assert drawing.figure is None
    assert drawing.missing == "nothing was lost on any hop, n = 28,800 deliveries owed"


def test_many_causes_and_faults_are_bounded_and_said_to_be():
    many = [HopLoss("client", f"cause_{i}", f"fault {i}", 100 - i) for i in range(40)]
    drawing = hops.figure_hops(replace(sample_series(), hop_losses=many))
    shown = all_text(drawing.figure)
    assert "of 16 more causes not drawn" in drawing.subtitle
    assert "15 other faults" in shown
    assert "fault 8" in shown
    assert "fault 30" not in shown


def test_recovery_has_a_range_per_fault():
    series = sample_series()
    drawing = recovery.figure_recovery(series)
    (axes,) = drawing.figure.axes
    shown = [line.get_xdata()[0] for line in axes.lines if line.get_label() == "all back"]
    assert shown == [one.all_back_ms for one in series.recoveries]
    spans = [tuple(line.get_xdata()) for line in axes.lines if line.get_label() == "_range"]
    assert spans == [(2.1, 1620.0), (1.4, 131.0)]


def test_recovery_says_who_never_came_back():
    one = Recovery("crash node-2 @2s", 20, 2.0, 500.0, 520.0, None)
    drawing = recovery.figure_recovery(replace(sample_series(), recoveries=[one]))
    assert "not all came back" in all_text(drawing.figure)
    assert "not all came back" in drawing.alt


def test_the_caches_chart_shows_wrong_entries_over_refreshes_node_by_node():
    series = sample_series()
    drawing = cache.figure_caches(series)
    wrong, refresh = drawing.figure.axes
    for one in series.caches:
        values, edges, _ = artist(wrong, one.node).get_data()
        assert_array_equal(values, one.wrong)
        assert_array_equal(edges, series.edges_s)
        assert_array_equal(artist(refresh, one.node).get_ydata(), one.refresh_p50_ms)
        assert_array_equal(artist(refresh, f"_max {one.node}").get_ydata(), one.refresh_max_ms)
        assert f"{one.node}: 4" in all_text(drawing.figure)
    missed = sum(one.missed for one in series.caches)
    due = missed + sum(one.refreshed for one in series.caches)
    assert f"n = {due:,} updates due, {missed:,} missed · 12 entries stay wrong" in drawing.subtitle
    assert "at most 40 entries wrong at a time, 4 for good" in drawing.alt
    rows = list(csv.DictReader(io.StringIO(table_csv(drawing))))
    assert len(rows) == len(NODES) * len(series.lost)
    assert_allclose([float(row["wrong_entries"]) for row in rows], np.concatenate([one.wrong for one in series.caches]))


def test_caches_that_nobody_timed_have_no_second_panel():
    nobody = [
        replace(one, refresh_max_ms=np.full_like(one.wrong, np.nan), refresh_p50_ms=np.full_like(one.wrong, np.nan))
        for one in sample_series().caches
    ]
    drawing = cache.figure_caches(replace(sample_series(), caches=nobody))
    assert len(drawing.figure.axes) == 1
    assert "refreshes not timed" in drawing.alt


def test_of_many_caches_the_worst_are_named():
    line = sample_series().caches[0]
    many = [replace(line, node=f"node-{i}", wrong=line.wrong * i) for i in range(40)]
    drawing = cache.figure_caches(replace(sample_series(), caches=many))
    named = {patch.get_label() for patch in drawing.figure.axes[0].patches} - {"_other", "_fill"}
    assert {name for name in named if name.startswith("node")} == {f"node-{i}" for i in range(34, 40)}
    assert "the 6 worst of 40 nodes are named" in drawing.subtitle
    assert len(drawing.figure.axes[0].patches) < 60


def test_without_caches_the_chart_says_so():
    drawing = cache.figure_caches(replace(sample_series(), caches=[]))
    assert drawing.figure is None
    assert drawing.missing == cache.NONE


def test_resources_have_a_panel_per_metric_and_break_where_a_unit_was_gone():
    series = sample_series()
    drawing = resources.figure_resources(series)
    assert len(drawing.figure.axes) == 4
    cpu = drawing.figure.axes[0]
    line = artist(cpu, "node-2")
    y = np.asarray(line.get_ydata(), dtype=float)
    assert_allclose(y[np.isfinite(y)], series.samples["cpu"]["node-2"][1] * 100)
    assert np.isnan(y).sum() == 1, "the time without a process is a gap, not a bridge"
    numsub = artist(drawing.figure.axes[3], "news")
    assert_array_equal(numsub.get_ydata(), series.samples["numsub"]["news"][1])


def test_resources_name_what_was_not_sampled():
    series = sample_series()
    few = replace(series, samples={"cpu": series.samples["cpu"]})
    drawing = resources.figure_resources(few)
    assert len(drawing.figure.axes) == 1
    assert "not sampled: Resident memory" in drawing.subtitle


def test_what_is_absent_is_said_not_drawn(tmp_path):
    charts = draw_all(quiet_series(), {}, tmp_path)
    assert charts["losses"].missing == f"nothing lost, n = {int(quiet_series().offered.sum()):,} owed"
    assert charts["heatmap"].missing.startswith("nothing lost, n = ")
    assert charts["recovery"].missing == "no fault in this run"
    assert not (tmp_path / "recovery.png").exists()
    assert (tmp_path / "rate.png").exists()


def test_a_run_without_anything_draws_nothing_and_fails_nowhere(tmp_path):
    charts = draw_all(empty_series(), {}, tmp_path)
    assert {name for name, chart in charts.items() if chart.missing} == set(FIGURES)
    assert list(tmp_path.iterdir()) == []


def test_redrawing_removes_what_no_longer_applies(tmp_path):
    (tmp_path / "recovery.svg").write_text("of another run")
    draw_all(quiet_series(), {}, tmp_path)
    assert not list(tmp_path.glob("recovery.*"))


def test_every_chart_is_written_as_png_svg_and_csv(drawn):
    charts, folder = drawn
    assert list(charts) == list(FIGURES)
    for name, chart in charts.items():
        assert chart.missing is None
        assert {path.name for path in chart.files} == {f"{name}.png", f"{name}.svg", f"{name}.csv"}
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        ET.parse(folder / f"{name}.svg")  # noqa: S314 - our own file
        assert "n = " in chart.subtitle
        assert len(chart.alt) > 40


def test_the_csv_holds_the_series():
    series = sample_series()
    rows = list(csv.DictReader(io.StringIO(table_csv(traffic.figure_rate(series)))))
    assert_allclose([float(row["delivered"]) for row in rows], series.delivered)
    rows = list(csv.DictReader(io.StringIO(table_csv(latency.figure_latency(series)))))
    assert [row["p99_ms"] == "" for row in rows] == list(np.isnan(series.latency_ms["p99"]))
    rows = list(csv.DictReader(io.StringIO(table_csv(heatmap.figure_heatmap(series)))))
    assert sum(float(row["lost"]) for row in rows) == series.heatmap.sum()


def test_a_csv_cell_is_never_a_formula():
    drawing = recovery.figure_recovery(replace(sample_series(), recoveries=[Recovery("=1+1", 1, 1.0, 2.0, 3.0, 4.0)]))
    assert table_csv(drawing).splitlines()[1].startswith("'=1+1,1,")


def test_the_same_series_gives_the_same_files(drawn, tmp_path):
    first, folder = drawn
    second = draw_all(sample_series(), {}, tmp_path)
    for name in FIGURES:
        assert first[name].svg == second[name].svg
        for suffix in ("svg", "csv", "png"):
            one, other = (side / f"{name}.{suffix}" for side in (folder, tmp_path))
            assert one.read_bytes() == other.read_bytes()


def test_inlined_charts_share_no_id_and_refer_to_their_own(drawn):
    seen = set()
    for name, chart in drawn[0].items():
        root = ET.fromstring(chart.svg)  # noqa: S314 - our own file
        ids = {element.get("id") for element in root.iter() if element.get("id")}
        assert ids
        assert all(one.startswith(f"fl-{name}-") for one in ids)
        assert not ids & seen
        seen |= ids
        used = set(re.findall(r"url\(#([^)]+)\)", chart.svg)) | set(re.findall(r'href="#([^"]+)"', chart.svg))
        assert used <= ids


def test_charts_take_their_colours_from_the_page(drawn):
    for chart in drawn[0].values():
        outside = re.sub(r"var\(--fl-[a-z]+,#[0-9a-f]{6}\)", "", chart.svg)
        assert "var(--fl-ink" in chart.svg or "var(--fl-muted" in chart.svg
        colours = set(re.findall(r"(?:fill|stroke): ?(#[0-9a-f]{3,6})", outside))
        assert not colours, f"{chart.name} has colours that dark mode cannot change"
        assert "http" not in chart.svg
        assert "<metadata" not in chart.svg
        assert "DejaVu" not in chart.svg


def test_light_colours_are_told_apart():
    assert len({light for light, _ in style.PALETTE.values()}) == len(style.PALETTE)


def test_an_image_is_embedded(drawn):
    chart = drawn[0]["heatmap"]
    assert chart.svg.count('href="data:image/png;base64,') == len(NODES) + 1


def test_hostile_names_stay_text(tmp_path):
    charts = draw_all(hostile_series(), {}, tmp_path)
    shown = set()
    for chart in charts.values():
        assert chart.missing is None
        root = ET.fromstring(chart.svg)  # noqa: S314 - our own file
        assert {element.tag for element in root.iter()} <= SVG_TAGS
        assert not [key for element in root.iter() for key in element.attrib if key.startswith("on")]
        words = list(svg.texts(root))
        assert not set("".join(words)) & set("\x00\x1b\u202e\n")
        assert max(map(len, words)) < 200
        shown |= set(words)
    assert {"$$", "#0b69c7", "[bold]", "<script>alert(1)</script>", "a b", "reversed"} <= shown


def test_matplotlib_s_own_settings_stay_as_they_were():
    before = dict(rcParams)
    latency.figure_latency(sample_series())
    assert dict(rcParams) == before


def test_many_bins_are_taken_together_and_none_is_lost():
    edges_s, counts = style.coarser(np.arange(0, 251.0), np.arange(250.0)[None, :])
    assert (edges_s[0], edges_s[1], edges_s[-2], edges_s[-1]) == (0, 3, 249, 250)
    assert counts.shape == (1, 84)
    assert counts.sum() == np.arange(250.0).sum()
    assert list(counts[0, :2]) == [0 + 1 + 2, 3 + 4 + 5]
    few = np.arange(3.0)
    assert_array_equal(style.coarser(np.arange(4.0), few)[1], few)


def test_the_beat_of_rate_and_bins_does_not_show():
    series = sample_series()
    beat = np.tile([120.0, 180.0], 80)  # 50 messages/s in bins of 50 ms: two, three, two, three
    edges_s = np.arange(161) * 0.05
    drawing = traffic.figure_rate(replace(series, edges_s=edges_s, offered=beat, delivered=beat, lost=beat * 0))
    values, edges, _ = artist(drawing.figure.axes[0], "offered").get_data()
    assert_allclose(values, 3000.0)
    assert_allclose(np.diff(edges), 0.1)
    assert "per 100 ms" in drawing.subtitle


def test_a_unit_looks_the_same_in_every_panel():
    cpu, rss, *_ = resources.figure_resources(sample_series()).figure.axes
    for unit in ("node-1", "redis", "load-0"):
        assert artist(cpu, unit).get_color() == artist(rss, unit).get_color()
    assert len({style.look_of(i) for i in range(18)}) == 18


def test_labels_that_would_touch_move_apart():
    assert style.spread([5, 5, 5], 2, 0, 20) == [5, 7, 9]
    assert style.spread([19, 20], 4, 0, 20) == [16, 20]
    assert style.spread([9, 1], 2, 0, 20) == [9, 1]


def test_a_folder_that_cannot_be_written_is_the_machine_s_fault(tmp_path):
    (tmp_path / "charts").write_text("a file")
    with pytest.raises(EnvironmentFailure, match="cannot write charts"):
        draw_all(sample_series(), {}, tmp_path / "charts")
