import numpy as np
import pytest

from fanlab.analysis.build import (
    Sample,
    build_series,
    fault_windows,
    loss_heatmap,
    parse_samples,
    sample_lines,
)
from fanlab.analysis.names import names_of
from fanlab.analysis.series import HopLoss
from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.clocks import ClockAccount, Span
from fanlab.ledger.histogram import Histogram
from fanlab.ledger.latency import LatencyTable
from fanlab.ledger.records import NO_NODE
from support.accounts import at, crash, empty_account, make_account, make_manifest, make_scenario

SAMPLES = "t_s,metric,unit,value\n0.500,cpu,node-1,0.25\n0.000,cpu,node-1,0.2\n0.000,numsub,news,2\n"


def many(count):
    """The plan's names for `count` clients on two nodes."""
    return names_of(make_manifest(make_scenario(clients=[{"group": "readers", "count": count, "channels": ["news"]}])))


def test_counts_stay_counts_per_bin_and_sum_to_the_ledger():
    account = make_account()
    series = build_series(account, make_manifest())
    assert len(series.edges_s) == len(series.offered) + 1
    assert (series.edges_s[0], series.edges_s[-1]) == (-1.0, 11.5)
    assert np.allclose(np.diff(series.edges_s), series.notes["bin_s"])
    measured = series.edges_s[:-1] >= 0
    assert series.offered[measured].sum() == account.measure.owed
    assert series.lost.sum() == series.heatmap.sum() == account.measure.lost


def test_losses_stand_in_the_row_of_their_client_and_the_bin_of_their_message():
    series = build_series(make_account(), make_manifest())
    assert series.heatmap_rows == ["node-1", "node-1", "node-2", "node-2"]
    assert series.heatmap.sum(axis=1).tolist() == [0, 0, 50, 40], "clients 0, 2 | 1, 3"
    assert series.heatmap.sum(axis=0).tolist() == series.lost.tolist()
    assert series.edges_s[np.flatnonzero(series.lost)].tolist() == [2.0]


def test_caches_stand_in_the_plan_s_order_over_the_same_bins():
    series = build_series(make_account(), make_manifest())
    assert [(one.node, one.missed, one.wrong_for_good) for one in series.caches] == [("node-1", 0, 0), ("node-2", 3, 2)]
    assert all(len(one.wrong) == len(one.refresh_p50_ms) == len(series.offered) for one in series.caches)
    assert series.caches[1].wrong.max() == 2
    assert series.caches[0].refresh_max_ms.tolist() == [1.0] * 25
    assert build_series(make_account(caches=None), make_manifest()).caches == []


def test_rows_stand_for_neighbours_on_one_node_where_there_are_too_many_clients():
    account = make_account()
    heatmap, rows, per_row = loss_heatmap(account, many(1001), max_rows=100)
    assert per_row == 11, "501 + 500 clients: 46 + 46 rows; with 10 it were 51 + 50"
    assert len(rows) == len(heatmap) == 46 + 46
    assert heatmap.sum() == 90, "no loss falls out"
    assert heatmap[46].sum() == 90, "clients 1 and 3 share the first row of node-2"


def test_a_node_has_a_row_of_its_own_however_few_there_may_be():
    heatmap, rows, _ = loss_heatmap(make_account(), many(1000), max_rows=1)
    assert rows == ["node-1", "node-2"]
    assert heatmap.sum() == 90


@pytest.mark.parametrize(
    ("clients", "max_rows", "per_row"),
    [(4, 4, 1), (8, 4, 2), (6, 3, 3), (6, 1, 3)],
    ids=["all fit", "two nodes of two rows", "three halves would fit, and there are none", "more nodes than rows"],
)
def test_a_row_stands_for_no_more_clients_than_it_must(clients, max_rows, per_row):
    assert loss_heatmap(make_account(), many(clients), max_rows)[2] == per_row


def test_losses_stand_in_the_rows_of_the_third_node_too():
    scenario = make_scenario(
        topology={"nodes": {"kind": "websockets", "count": 3}},
        clients=[{"group": "readers", "count": 6, "channels": ["news"]}],
    )
    account = make_account()
    account.losses["node"], account.losses["client"] = 2, 5
    heatmap, rows, _ = loss_heatmap(account, names_of(make_manifest(scenario)))
    assert rows == ["node-1", "node-1", "node-2", "node-2", "node-3", "node-3"]
    assert heatmap.sum(axis=1).tolist() == [0, 0, 0, 0, 0, 90]


def test_a_loss_on_no_node_stands_with_the_one_on_which_its_client_started():
    account = make_account()
    account.losses["node"] = NO_NODE
    heatmap, rows, _ = loss_heatmap(account, many(4))
    assert rows == ["node-1", "node-1", "node-2", "node-2"]
    assert heatmap.sum(axis=1).tolist() == [0, 0, 50, 40]


@pytest.mark.parametrize(("due_s", "bin_"), [(-1.0, 0), (-1.2, 0), (11.4, 24), (11.5, 24), (12.7, 24)])
def test_a_loss_stands_in_the_first_or_last_bin_where_it_was_due_there_or_beyond(due_s, bin_):
    account = make_account()
    account.losses["intended_ns"] = at(due_s)
    heatmap, _, _ = loss_heatmap(account, many(4))
    assert np.flatnonzero(heatmap.sum(axis=0)).tolist() == [bin_]


def test_losses_without_a_bin_of_time_leave_an_empty_chart():
    heatmap, rows, _ = loss_heatmap(make_account(offered=np.zeros(0, np.int64)), many(4))
    assert heatmap.shape == (len(rows), 0)


@pytest.mark.parametrize(("span", "bound_ms"), [(Span(-1_000_000, 3_000_000), 2.0), (None, None)])
def test_the_notes_say_how_exact_times_between_processes_are(span, bound_ms):
    series = build_series(make_account(clock=ClockAccount("exchange", span)), make_manifest())
    assert series.notes["clock"] == {"basis": "exchange", "bound_ms": bound_ms}


def test_curves_between_two_clocks_are_put_right_as_the_summary_is():
    """The clients' clock is 0.5 ms ahead: what node-2's clients got after 2 ms took 1.5."""
    exchanged = ClockAccount("exchange", Span(400_000, 600_000))
    plain, right = (build_series(make_account(clock=clock), make_manifest()) for clock in (ClockAccount(), exchanged))
    assert right.latency_ms["max"][0] == plain.latency_ms["max"][0] - 0.5
    assert right.spectrum[1].tolist() == pytest.approx((plain.spectrum[1] - 0.5).tolist())
    assert right.ecdf_ms["node-2"][0].tolist() == [1.5]
    assert right.ecdf_n == plain.ecdf_n
    assert right.caches[0].refresh_max_ms[0] == plain.caches[0].refresh_max_ms[0], "nobody compared clocks with nodes"


def test_latency_over_time_has_gaps_where_there_is_nothing():
    series = build_series(make_account(), make_manifest())
    assert series.latency_n.tolist() == (series.offered - series.lost).tolist()
    assert np.isnan(series.latency_ms["p50"][-1])
    assert series.latency_ms["max"][0] == 1.0
    assert set(series.latency_ms) == {"p50", "p95", "p99", "max"}


def test_nodes_stand_in_the_plans_order():
    scenario = make_scenario(topology={"nodes": {"kind": "websockets", "count": 10}})
    latency = LatencyTable(by_node={node: Histogram.of([1]) for node in ("node-10", "#77", "node-9")})
    series = build_series(make_account(latency=latency), make_manifest(scenario))
    assert list(series.ecdf_ms) == list(series.ecdf_n) == ["node-9", "node-10", "#77"]


def test_spectrum_and_ecdf_say_how_many_samples():
    series = build_series(make_account(), make_manifest())
    assert series.spectrum_n == 3910
    assert series.spectrum[0][-1] == pytest.approx(100 * (1 - 1 / 3910))
    assert series.ecdf_n == {"node-1": 2410, "node-2": 1500}


def test_losses_by_hop_cause_and_fault_stand_in_the_order_of_the_way():
    account = make_account()
    account.losses["hop"][:] = Hop.CLIENT
    account.losses["hop"][:7], account.losses["cause"][:7] = Hop.NODE_SOCKET, Cause.NODE_CRASH_IN_FLIGHT
    account.losses["hop"][7:12], account.losses["cause"][7:12] = Hop.UNKNOWN, Cause.NODE_CRASH_IN_FLIGHT
    account.losses["fault"][12:22] = -1
    series = build_series(account, make_manifest())
    assert series.hop_losses == [
        HopLoss("node_socket", "node_crash_in_flight", "crash node-2 @2s", 7),
        HopLoss("client", "client_reconnecting", "crash node-2 @2s", 68),
        HopLoss("client", "client_reconnecting", "", 10),
        HopLoss("unknown", "node_crash_in_flight", "crash node-2 @2s", 5),
    ]
    assert sum(one.lost for one in series.hop_losses) == account.measure.lost
    assert build_series(empty_account(), make_manifest()).hop_losses == []


def test_losses_are_told_by_the_fault_that_took_them():
    account = make_account(faults=[crash(), crash(id=1, kind="pause", target="node-1")])
    account.losses["fault"][:30] = 1
    found = build_series(account, make_manifest()).hop_losses
    assert {one.fault: one.lost for one in found} == {"crash node-2 @2s": 60, "pause node-1": 30}


def test_fault_windows_run_from_the_bite_to_the_confirmed_healing():
    (window,) = fault_windows(make_account())
    assert (window.name, window.start_s, window.end_s) == ("crash node-2", 2.005, 4.3)
    (window,) = fault_windows(make_account(faults=[crash(heal_confirmed_ns=None)]))
    assert window.end_s is None
    assert fault_windows(make_account(faults=[crash(confirmed_ns=None)])) == []


def test_samples_are_grouped_and_in_order_of_time():
    lines = sample_lines(parse_samples(SAMPLES.splitlines(keepends=True)))
    times, values = lines["cpu"]["node-1"]
    assert (times.tolist(), values.tolist()) == ([0.0, 0.5], [0.2, 0.25])
    assert lines["numsub"]["news"][1].tolist() == [2.0]


def test_a_last_line_cut_short_is_left_out():
    cut = SAMPLES + "1.000,cpu,node-1,0.2"
    assert parse_samples(cut.splitlines(keepends=True)) == parse_samples(SAMPLES.splitlines(keepends=True))
    assert parse_samples([]) == []
    assert parse_samples(["t_s,metr"]) == []


@pytest.mark.parametrize("line", ["1.0,cpu,node-1\n", "soon,cpu,node-1,0.2\n", "1.0,cpu,node-1,much\n"])
def test_a_damaged_line_in_the_middle_is_an_error(line):
    with pytest.raises(ValueError, match=r"."):
        parse_samples([*SAMPLES.splitlines(keepends=True), line, "2.0,cpu,node-1,0.2\n"])


def test_another_file_is_an_error():
    with pytest.raises(ValueError, match="begin with name,age"):
        parse_samples(["name,age\n", "Ada,36\n"])


def test_values_that_no_chart_can_draw_are_left_out():
    assert parse_samples(["t_s,metric,unit,value\n", "0,cpu,node-1,nan\n", "1,cpu,node-1,0.5\n"]) == [
        Sample(1.0, "cpu", "node-1", 0.5)
    ]


def test_a_run_without_anything_still_has_series():
    series = build_series(empty_account(), make_manifest(status="aborted"))
    assert series.edges_s.tolist() == [-1.0]
    assert series.heatmap.shape == (4, 0)
    assert series.spectrum_n == 0
    assert series.notes["partial"] is True


def test_a_client_that_moved_has_a_row_with_each_node_on_which_it_lost():
    account = make_account()
    account.losses["node"][:10] = 0  # of those that clients 1 and 3, at home on node-2, lost
    movers = len(set(account.losses["client"][:10]))
    heatmap, rows, per_row = loss_heatmap(account, many(4))
    on_first = [row for row, node in zip(heatmap, rows, strict=True) if node == "node-1"]
    assert per_row == 1
    assert (len(on_first), len(rows)) == (2 + movers, 4 + movers)
    assert sum(row.sum() for row in on_first) == 10, "the same as loss.by_node says"
    assert heatmap.sum() == 90
