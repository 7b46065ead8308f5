"""Gates: the grammar, the fields, and that what was not measured does not pass."""

import math
import re
from typing import Any, get_type_hints

import pytest

from fanlab.analysis.latency import LatencyBlock
from fanlab.analysis.parts import NodePart, Part
from fanlab.analysis.recovery import RecoveryBlock
from fanlab.report import schema
from fanlab.scenario.gatefields import (
    CAUSES,
    COPY_CAUSES,
    FIELDS,
    HOPS,
    KINDS,
    MISS_CAUSES,
    MISS_HOPS,
    SHORT,
    full_name,
    kept_by,
    narrowed,
    owed_of,
    quantity_of_field,
    subject_of,
)
from fanlab.scenario.gates import (
    IMPLIED,
    Gate,
    GateError,
    describe,
    evaluate,
    in_force,
    parse_gate,
    room,
)

SUMMARY: dict[str, Any] = {
    "ledger": {"lost": 3, "owed": 1000},
    "loss": {
        "ratio": 0.003,
        "unexplained": 0,
        "by_fault": [{"fault": "crash node-2 @2s", "measured": 3, "predicted": None}],
        "by_node": {"node-1": 0, "node-2": 3},
        "by_channel": {"user.updated": 2, "user": 1},
    },
    "latency_ms": {"n": 997, "p50": 1.5, "p99": 49.9, "p999": None, "max": math.nan},
    "recovery_ms": {"all_back": 700.0, "by_fault": {"crash node-2": {"all_back": 700.0}}},
    "warm_up": {"owed": 0, "lost": 0},
    "by_node": {"node-2": {"owed": 200, "delivered": 197, "lost": 3, "latency_ms": {"p99": 12.5}}},
    "by_channel": {"user.updated": {"owed": 400, "delivered": 398, "lost": 2}},
    "generator": {"cpu": True},
}


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("ledger.lost == 0", ("ledger.lost", "==", 0)),
        ("  ledger.owed>=2k ", ("ledger.owed", ">=", 2000)),
        ("ledger.owed < 1_000", ("ledger.owed", "<", 1000)),
        ("loss.ratio <= 0.5%", ("loss.ratio", "<=", 0.005)),
        ("loss.ratio <= 0.005", ("loss.ratio", "<=", 0.005)),
        ("latency_ms.p99 < 50ms", ("latency_ms.p99", "<", 50)),
        ("latency.p99 < 1.5s", ("latency_ms.p99", "<", 1500)),
        ("latency.p99 < 500us", ("latency_ms.p99", "<", 0.5)),
        ("latency.n != 1e3", ("latency_ms.n", "!=", 1000)),
        ("hops.redis.p50 < 1ms", ("hops_ms.redis.p50", "<", 1)),
        ("recovery.all_back < 2s", ("recovery_ms.all_back", "<", 2000)),
        ("recovery_ms.by_fault.crash node-2.all_back < 2s", ("recovery_ms.by_fault.crash node-2.all_back", "<", 2000)),
        ("loss.by_channel.user.updated == 0", ("loss.by_channel.user.updated", "==", 0)),
        ("phases.drain_s < 5s", ("phases.drain_s", "<", 5)),
        ("phases.drain_s < 500ms", ("phases.drain_s", "<", 0.5)),
        ("lost == 0", ("ledger.lost", "==", 0)),
        ("unexplained == 0", ("loss.unexplained", "==", 0)),
        ("recovery < 3s", ("recovery_ms.max", "<", 3000)),
        ("recovery(node-2) < 3s", ("recovery_ms.by_node.node-2.max", "<", 3000)),
        ("recovery(node-2).all_back < 3s", ("recovery_ms.by_node.node-2.all_back", "<", 3000)),
        ("recovery.all_back ( node = node-2 ) < 3s", ("recovery_ms.by_node.node-2.all_back", "<", 3000)),
        ("recovery(group=readers) < 3s", ("recovery_ms.by_group.readers.max", "<", 3000)),
        ("recovery(fault='crash node-2 @2s') < 3s", ("recovery_ms.by_fault.crash node-2 @2s.max", "<", 3000)),
        ("latency.p99(node=node-2) < 1s", ("by_node.node-2.latency_ms.p99", "<", 1000)),
        ("latency.n(channel=user.updated) > 1k", ("by_channel.user.updated.latency_ms.n", ">", 1000)),
        ("lost(group=readers) == 0", ("by_group.readers.lost", "==", 0)),
        ("ledger.lost(group=readers) == 0", ("by_group.readers.lost", "==", 0)),
        ("unexplained(node=node-1) == 0", ("by_node.node-1.unexplained", "==", 0)),
        ("cache.missed(node-1) == 0", ("cache.by_node.node-1.missed", "==", 0)),
        ('lost(fault="crash node-2 @2s") < 600', ("loss.by_fault.crash node-2 @2s.measured", "<", 600)),
        ("lost(fault=crash node-2 @2s #3) < 600", ("loss.by_fault.crash node-2 @2s #3.measured", "<", 600)),
        ("lost(phase=warm_up) == 0", ("warm_up.lost", "==", 0)),
        ("lost(measure) == 0", ("ledger.lost", "==", 0)),
        ("loss.ratio(phase=measure) < 1%", ("loss.ratio", "<", 0.01)),
    ],
)
def test_parsed(text: str, gate: tuple[str, str, float]) -> None:
    found = parse_gate(text)
    assert (found.field, found.op) == gate[:2]
    assert found.threshold == pytest.approx(gate[2])
    assert found.expr == text.strip()


@pytest.mark.parametrize(
    ("text", "what", "suggestion"),
    [
        ("", "'' is no gate", None),
        ("ledger.lost", "'ledger.lost' is no gate", None),
        ("ledger.lost = 0", "'ledger.lost = 0' is no gate", None),
        ("0 == ledger.lost", "'0' is no field", None),
        ("ledger.lost == 0 and ledger.owed > 1", "is no gate", None),
        ("ledger.lsot == 0", "'ledger.lsot' is no field", "ledger.lost"),
        ("latency.p98 < 5ms", "'latency.p98' is no field", "latency_ms.p99"),
        ("ledger.lost == 0ms", "ledger.lost is a count", None),
        ("latency.p99 < 5%", "latency_ms.p99 is in milliseconds", None),
        ("loss.ratio < 5ms", "loss.ratio is a ratio", None),
        ("ledger.lost == many", "not 'many'", None),
        ("ledger.lost == 1e999", "not '1e999'", None),
        ("loss.by_node. == 0", "'loss.by_node.' is no field", None),
        ("verdict == pass", "'verdict' is no field", None),
        ("ledger.lost == 0" + " " * 300, "is no gate", None),
        ("delivred >= 1", "'delivred' is no field", "delivered"),
        ("lsot(node=node-2) == 0", "'lsot' is no field", "lost"),
        ("latency(node-2) < 1s", "'latency' is no field", None),
        ("lost(news) == 0", "what is 'news'?", None),
        ("lost() == 0", "selects nothing", None),
        ("lost(node=node-1, channel=news) == 0", "selects nothing", None),
        ("lost(chanel=news) == 0", "'chanel' is nothing to select by", "channel"),
        ("lost(phase=warmup) == 0", "there is no phase 'warmup'", "warm_up"),
        ("latency.p99(phase=warm_up) < 1s", "latency_ms.p99 is not kept by phase", None),
        ("recovery(channel=news) < 1s", "recovery_ms.max is not kept by channel", None),
        ("published(node=node-1) > 0", "ledger.published is not kept by node", None),
        ("by_node.node-1.lost(node=node-2) == 0", "or is of one already", None),
        ("publishers.failed < 1%", "publishers.failed is a count", None),
        ("ledger.published > 99%", "ledger.published is a count", None),
        ("lost(node=node-1) < 5ms", "by_node.node-1.lost is a count", None),
        ("lost(node=node-1", "is no gate", None),
        ("lost == 0 else abort", "ledger.lost is known only when the run's journals are read", None),
        ("latency.p99(node=node-1) < 1s else abort", "is known only when", None),
        ("latency.p99 > 1s else abort", "compare it by `<` or `<=`", None),
        ("publishers.failed >= 1 else abort", "compare it by `<` or `<=` or `==`", None),
        ("publishers.failed == 0 else abort after 5", "is no duration", None),
    ],
)
def test_refused(text: str, what: str, suggestion: str | None) -> None:
    with pytest.raises(GateError) as caught:
        parse_gate(text)
    assert what in caught.value.what
    if suggestion:
        assert caught.value.suggestion == suggestion


@pytest.mark.parametrize(
    ("text", "actual", "ok"),
    [
        ("ledger.lost == 3", 3, True),
        ("ledger.lost == 0", 3, False),
        ("ledger.lost != 0", 3, True),
        ("ledger.lost < 3", 3, False),
        ("ledger.lost <= 3", 3, True),
        ("ledger.lost > 3", 3, False),
        ("ledger.lost >= 3", 3, True),
        ("loss.ratio <= 0.3%", 0.003, True),
        ("latency.p99 < 50ms", 49.9, True),
        ("loss.by_channel.user.updated == 2", 2, True),
        ("loss.by_channel.user == 1", 1, True),
        ("recovery.by_fault.crash node-2.all_back < 701ms", 700.0, True),
        ("latency.p999 < 60s", None, False),  # too few samples
        ("latency.max >= 0ms", None, False),  # NaN
        ("loss.by_node.node-9 == 0", None, False),  # absent
        ("hops.redis.p50 >= 0ms", None, False),  # a whole block absent
        ("generator.cpu >= 0", None, False),  # a truth value is no number
        ("lost(node=node-2) == 3", 3, True),
        ("latency.p99(node-2) < 12ms", 12.5, False),
        ("lost(channel=user.updated) <= 2", 2, True),
        ("lost(fault=crash node-2 @2s) == 3", 3, True),
        ("loss.by_fault.crash node-2 @2s.predicted < 9", None, False),
        ("lost(fault=crash node-2 @9s) == 0", None, False),
        ("delivered(node=node-2) >= 98.5%", 0.985, True),
        ("delivered(channel=user.updated) >= 99.6%", 0.995, False),
        ("lost <= 0.3%", 0.003, True),
        ("loss.ratio(node=node-2) < 1%", 0.015, False),
        ("loss.ratio(fault=crash node-2 @2s) <= 0.3%", 0.003, True),
        ("loss.ratio(phase=warm_up) < 1%", None, False),  # nothing was owed
        ("ledger.published != 5", None, False),  # even where "not equal" would be trivially so
    ],
)
def test_evaluated(text: str, actual: float | None, ok: bool) -> None:
    result = evaluate(parse_gate(text), SUMMARY)
    assert (result.actual, result.ok, result.expr) == (pytest.approx(actual), ok, text)


def test_a_gate_on_a_block_is_not_met() -> None:
    assert evaluate(Gate("x", "ledger", "!=", 1), SUMMARY).ok is False


BLOCKS = [
    ("ledger", schema.LedgerBlock),
    ("warm_up", schema.LedgerBlock),
    ("publishers", schema.PublishersBlock),
    ("clients", schema.ClientsBlock),
    ("latency_ms", LatencyBlock),
    ("hops_ms.node", LatencyBlock),
    ("generator", schema.GeneratorBlock),
    ("recovery_ms", RecoveryBlock),
    ("recovery_ms.by_fault.*", RecoveryBlock),
    ("recovery_ms.by_node.*", RecoveryBlock),
    ("recovery_ms.by_group.*", RecoveryBlock),
    ("by_node.*", NodePart),
    ("by_channel.*", Part),
    ("by_group.*", Part),
    ("by_node.*.latency_ms", LatencyBlock),
    ("by_channel.*.latency_ms", LatencyBlock),
    ("by_group.*.latency_ms", LatencyBlock),
    ("loss", schema.LossBlock),
    ("loss.by_fault.*", schema.FaultLoss),
    ("phases", schema.PhasesBlock),
    ("cache", schema.CacheBlock),
    ("cache.by_node.*", schema.CacheNodeBlock),
    ("cache.staleness_ms", LatencyBlock),
    ("cache.by_node.*.refresh_ms", LatencyBlock),
]


@pytest.mark.parametrize(("name", "block"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_the_fields_are_those_of_the_summary(name: str, block: type) -> None:
    """Every number of summary.json can be gated, and nothing else."""
    numbers = set()
    for key, hint in get_type_hints(block).items():
        if hint in (int, float, float | None, int | None):
            numbers.add(key)
        elif hint == dict[str, int]:
            numbers.add(f"{key}.*")
    depth = name.count(".") + 1
    known = {".".join(field.split(".")[depth:]) for field in FIELDS if field.startswith(f"{name}.")}
    inner = ("by_fault", "by_node.*.", "by_group.*.", "staleness_ms.", "refresh_ms.", "latency_ms.")  # of their own
    known = {field for field in known if not field.startswith(inner)}
    known = {re.sub(r"^by_(cause|hop)\.\w+$", r"by_\1.*", field) for field in known}
    assert known == numbers


def test_what_a_scenario_does_not_speak_of_is_not_overlooked() -> None:
    assert in_force([]) == list(IMPLIED)
    assert in_force(["ledger.duplicated >= 0"]) == ["ledger.duplicated >= 0", *(g for g in IMPLIED if "dupl" not in g)]
    assert in_force(list(IMPLIED)) == list(IMPLIED)


def test_a_cause_in_a_gate_must_be_one_that_the_ledger_knows() -> None:
    from fanlab.ledger.cached import MissCause, MissHop
    from fanlab.ledger.causes import Cause, Hop
    from fanlab.ledger.odd import CopyCause

    assert {cause.label for cause in Cause} == set(CAUSES)
    assert {hop.label for hop in Hop} == set(HOPS)
    assert {cause.label for cause in CopyCause} == set(COPY_CAUSES)
    assert {cause.label for cause in MissCause} == set(MISS_CAUSES)
    assert {hop.label for hop in MissHop} == set(MISS_HOPS)
    with pytest.raises(GateError) as caught:
        parse_gate("loss.by_cause.node_don == 0")
    assert caught.value.suggestion == "loss.by_cause.node_down"


@pytest.mark.parametrize(
    ("text", "actual", "shown"),
    [
        ("latency.p99 < 1ms", 68.9439, "68.94 ms"),
        ("loss.ratio <= 0.5%", 0.0382534, "3.83 %"),
        ("ledger.lost == 0", 12, "12"),
        ("phases.drain_s < 1s", 1.25, "1.25 s"),
        ("latency.p999 < 1s", None, "not known"),
    ],
)
def test_values_are_told_with_their_units(text: str, actual: float | None, shown: str) -> None:
    assert describe(parse_gate(text), actual) == shown


@pytest.mark.parametrize(
    ("text", "after_ns"),
    [
        ("publishers.failed == 0", None),
        ("publishers.failed == 0 else abort", 0),
        ("latency.p99 < 500ms else abort after 5s", 5_000_000_000),
    ],
)
def test_some_gates_end_the_run(text: str, after_ns: int | None) -> None:
    assert parse_gate(text).abort_after_ns == after_ns


@pytest.mark.parametrize(
    ("text", "actual", "left"),
    [
        ("latency.p99 < 50ms", 40.0, 10.0),
        ("latency.p99 < 50ms", 60.0, -10.0),
        ("delivered >= 99%", 0.995, 0.005),
        ("ledger.owed > 10", 7, -3),
        ("ledger.lost == 0", 0, None),
        ("ledger.lost == 0", 4, -4),
        ("ledger.lost != 4", 4, None),
        ("ledger.lost == 0", None, None),
    ],
)
def test_how_far_a_value_is_from_its_threshold(text: str, actual: float | None, left: float | None) -> None:
    assert room(parse_gate(text), actual) == (None if left is None else pytest.approx(left))


def test_every_short_name_is_a_field() -> None:
    assert {full_name(short) for short in SHORT} <= set(FIELDS)
    for kind in KINDS:
        assert kept_by(kind)


def test_a_field_that_is_narrowed_is_one_again() -> None:
    """Whatever is kept by a part is a field of its own, whose subject is that part."""
    for field in (name for name in FIELDS if "*" not in name):
        for kind, name in (("node", "node-2"), ("channel", "a.b"), ("group", "readers"), ("fault", "crash node-1 @2s")):
            if (found := narrowed(field, kind, name)) is not None:
                assert quantity_of_field(found) == quantity_of_field(field)
                assert subject_of(found) == (kind, name)
                owed = owed_of(found)
                assert owed is None or quantity_of_field(owed) == "count"


def test_a_share_that_is_met_exactly_is_met() -> None:
    for n in range(1001):
        percent = f"{n // 10}.{n % 10}%"
        summary = {"ledger": {"owed": 1000, "delivered": n}, "loss": {"ratio": n / 1000}}
        for gate in (f"delivered >= {percent}", f"delivered <= {percent}", f"loss.ratio == {percent}"):
            assert evaluate(parse_gate(gate), summary).ok, gate


def test_a_threshold_is_the_number_that_is_written() -> None:
    assert parse_gate("latency.p99 < 1.1s").threshold == 1100.0
    assert parse_gate("latency.p99 < 4.35us").threshold == 0.00435
    assert parse_gate("ledger.lost < 1e-99999%").threshold == 0.0
    with pytest.raises(GateError, match="compare it with a number"):
        parse_gate("ledger.lost < 1e308M")


@pytest.mark.parametrize("gate", ["lost(node=none) == 0", "owed(node=none) == 0", "loss.by_node.none == 0"])
def test_nobody_without_a_node_is_none_lost(gate: str) -> None:
    nothing: dict[str, Any] = {"loss": {"by_node": {"node-1": 0}}, "by_node": {"node-1": {"lost": 0}}}
    assert evaluate(parse_gate(gate), nothing).ok
    planted = {"loss": {"by_node": {"node-1": 0, "none": 2}}, "by_node": {"none": {"lost": 2, "owed": 2}}}
    assert evaluate(parse_gate(gate), planted).actual == 2
    assert evaluate(parse_gate(gate), {}).actual is None
    assert evaluate(parse_gate("latency.p99(node=none) < 1s"), nothing).actual is None
    assert evaluate(parse_gate("lost(node=node-2) == 0"), nothing).actual is None
