import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np
import pytest

from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.odd import ODD_DTYPE, Odd, odd_rows
from fanlab.ledger.probes import ProbeDelays
from fanlab.ledger.result import Tally
from fanlab.report.schema import Summary
from fanlab.report.summary import make_summary
from fanlab.scenario.gatefields import FIELDS
from support.accounts import at, crash, empty_account, make_account, make_manifest, make_scenario

DOCS = Path(__file__).parents[2] / "docs" / "summary-json.md"
GOLDEN = Path(__file__).parents[1] / "golden" / "summary.json"
HOPS = ("schedule", "redis", "node", "client")


def fields_of(kind: Any, path: str) -> Iterator[str]:
    """Every field that a type of the summary has: `*` for a name, `[]` for a list's entries."""
    if get_origin(kind) is UnionType:  # a block, or null where there was nothing to measure
        inner_kinds = [each for each in get_args(kind) if each is not type(None)]
        kind = inner_kinds[0] if is_typeddict(inner_kinds[0]) else kind
    if is_typeddict(kind):
        for name, inner in get_type_hints(kind).items():
            yield from fields_of(inner, f"{path}.{name}" if path else name)
    elif get_origin(kind) is list:
        yield from fields_of(get_args(kind)[0], f"{path}[]")
    elif get_origin(kind) is dict:
        yield from fields_of(get_args(kind)[1], f"{path}.*")
    else:
        yield path


OPEN = {
    *(f"loss.by_{what}" for what in ("hop", "cause", "node", "channel")),
    "duplicates.by_cause",
    *(f"recovery_ms.by_{what}" for what in ("fault", "node", "group")),
    *(f"by_{what}" for what in ("node", "channel", "group")),
    *(f"cache.by_{what}" for what in ("hop", "cause", "node")),
}


def paths_in(value: Any, path: str = "") -> Iterator[str]:
    """Every path in a summary, in the same notation, as far as names can be told from fields."""
    if isinstance(value, dict):
        open_map = path in OPEN
        for name, inner in value.items():
            key = "*" if open_map else name
            yield from paths_in(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from paths_in(inner, f"{path}[]")
    else:
        yield path


SCHEMA = frozenset(fields_of(Summary, ""))


def test_the_summary_of_a_known_run_is_the_golden_one():
    text = json.dumps(make_summary(make_account(), make_manifest()), indent=2, ensure_ascii=False, allow_nan=False)
    if os.environ.get("FANLAB_RENEW_GOLDEN"):
        GOLDEN.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == GOLDEN.read_text(encoding="utf-8"), "as meant? FANLAB_RENEW_GOLDEN=1 writes it anew"


def test_losses_come_to_the_same_however_they_are_counted():
    account = make_account()
    account.losses["hop"][:30], account.losses["cause"][:30] = Hop.NODE_SOCKET, Cause.NODE_CRASH_IN_FLIGHT
    account.losses["hop"][30:], account.losses["fault"][80:] = Hop.CLIENT, -1
    account = replace(account, faults=[crash(measured=80)])
    loss = make_summary(account, make_manifest())["loss"]
    counts = [sum(loss[by].values()) for by in ("by_hop", "by_cause", "by_node", "by_channel")]
    counts.append(sum(kind["lost"] for kind in loss["by_hop_and_cause"]))
    counts.append(sum(fault["measured"] for fault in loss["by_fault"]) + loss["outside_faults"])
    assert counts == [account.measure.lost] * 6
    assert [(kind["hop"], kind["cause"], kind["lost"]) for kind in loss["by_hop_and_cause"]] == [
        ("node_socket", "node_crash_in_flight", 30),
        ("client", "client_reconnecting", 60),
    ]
    first = account.losses[0]
    assert loss["by_hop_and_cause"][0]["example"] == {
        "client": int(first["client"]), "publisher": "ticker", "channel": "news", "seq": int(first["seq"])
    }  # fmt: skip


def test_figures_of_a_known_run():
    summary = make_summary(make_account(), make_manifest())
    assert (summary["verdict"], summary["reasons"]) == ("pass", [])
    assert summary["loss"]["ratio"] == 90 / 4000
    assert summary["loss"]["by_node"] == {"node-1": 0, "node-2": 90}
    assert summary["loss"]["by_channel"] == {"news": 90}
    assert summary["loss"]["by_fault"] == [
        {"fault": "crash node-2 @2s", "predicted": 100.0, "predicted_from_outage": 90.0, "measured": 90}
    ]
    assert summary["faults"][0]["confirmed"] == 2.01
    assert summary["phases"]["drain_s"] == 1.25
    assert summary["generator"]["bias_ms"] == pytest.approx(0.21, rel=0.01)
    assert summary["generator"]["bias_ratio"] == pytest.approx(0.21 / 10.5, rel=0.01)
    assert (summary["generator"]["bias_n"], summary["generator"]["bias_inferred"]) == (500, 12)
    assert summary["clock"]["bound_ms"] == 0
    assert summary["gates"][0] == {"expr": "loss.unexplained == 0", "actual": 0, "ok": True}


def test_every_cause_node_and_channel_is_there_so_that_gates_on_a_zero_hold():
    scenario = make_scenario(channels=["news", "jobs"], gates=["loss.by_channel.jobs == 0", "loss.by_node.node-1 == 0"])
    summary = make_summary(make_account(), make_manifest(scenario))
    assert set(summary["loss"]["by_cause"]) == {cause.label for cause in Cause}
    assert [gate["ok"] for gate in summary["gates"][:2]] == [True, True]


def test_losses_of_nobody_and_of_no_node_are_counted():
    account = make_account()
    account.losses["fault"][:3] = -1
    account.faults = [crash(measured=87)]
    account.losses["node"][:2] = 0xFFFF
    account.losses["cause"][:4] = Cause.UNEXPLAINED
    summary = make_summary(account, make_manifest())
    assert summary["loss"]["outside_faults"] == 3
    assert summary["loss"]["by_node"] == {"node-1": 0, "node-2": 88, "none": 2}
    assert summary["loss"]["unexplained"] == 4
    assert summary["verdict"] == "fail"
    assert summary["reasons"] == ["gate not met: loss.unexplained == 0 (it is 4)"]


def test_a_gate_may_name_any_figure_even_of_one_fault():
    gates = ["recovery_ms.max < 3s", "recovery_ms.by_fault.crash node-2 @2s.all_back <= 500ms", "ledger.lost < 90"]
    summary = make_summary(make_account(), make_manifest(make_scenario(gates=gates)))
    assert [(gate["actual"], gate["ok"]) for gate in summary["gates"][:3]] == [
        (510.0, True),
        (500.0, True),
        (90, False),
    ]


def test_times_before_time_0_are_negative_and_what_never_was_is_null():
    fault = crash(requested_ns=at(-0.5), confirmed_ns=at(-0.25), heal_requested_ns=None, heal_confirmed_ns=None)
    (entry,) = make_summary(make_account(faults=[fault]), make_manifest())["faults"]
    assert (entry["requested"], entry["confirmed"]) == (-0.5, -0.25)
    assert entry["heal_requested"] is entry["heal_confirmed"] is None


@pytest.mark.parametrize("status", ["starting", "running", "aborted", "failed"])
def test_a_run_that_never_got_going_has_a_summary_too(status):
    phases = dict.fromkeys(make_manifest()["phases"])
    summary = make_summary(empty_account(), make_manifest(status=status, phases=phases))
    assert summary["partial"] is True
    assert summary["verdict"] == "invalid"
    assert summary["loss"]["ratio"] is None
    assert summary["latency_ms"]["n"] == 0
    assert summary["phases"]["drain_s"] is None
    json.dumps(summary, allow_nan=False)


def test_no_number_is_nan_or_infinite_however_odd_the_account():
    account = make_account(
        schedule_lag_p99_ms=float("nan"),
        loop_lag_p99_ms=float("inf"),
        generator_cpu=float("nan"),
        faults=[crash(predicted=float("inf"))],
    )
    summary = make_summary(account, make_manifest())
    json.dumps(summary, allow_nan=False)
    assert summary["generator"]["cpu"] is None
    assert summary["verdict"] == "invalid"


def test_the_verdict_is_that_of_the_same_account():
    account = make_account()
    unbalanced = replace(account, measure=Tally(published=1000, owed=4000, delivered=3910, lost=90, indeterminate=5))
    assert make_summary(unbalanced, make_manifest())["verdict"] == "invalid"


def test_a_summary_has_exactly_the_fields_of_its_schema():
    assert (
        frozenset(paths_in(make_summary(make_account(), make_manifest()))) | {"reasons[]", "evidence.coarse[]"}
        == SCHEMA
    )


def test_the_documentation_names_exactly_the_fields_that_exist():
    rows = re.findall(r"^\| `([^`]+)` \|", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(rows) == len(set(rows)), "a field is documented twice"
    fields = SCHEMA - {field for field in SCHEMA if field.startswith("hops_ms.")}
    fields |= {re.sub(r"^hops_ms\.\w+", "hops_ms.*", field) for field in SCHEMA if field.startswith("hops_ms.")}
    assert set(rows) == fields


def test_gates_can_be_about_fields_that_exist_and_about_no_others():
    known = {re.sub(r"\.by_(cause|hop)\.\w+$", r".by_\1.*", field) for field in FIELDS}
    known = {field.replace("loss.by_fault.*.", "loss.by_fault[].") for field in known}
    assert known - SCHEMA == set()
    numbers = {path for path in SCHEMA if path.split(".")[0] in ("ledger", "warm_up", "latency_ms", "hops_ms")}
    numbers |= {
        path for path in SCHEMA if path.split(".")[0] in ("publishers", "clients", "recovery_ms", "generator", "cache")
    }
    assert numbers - known - set(FIELDS) == set()


def test_a_run_without_gates_of_its_own_still_fails_on_what_nothing_explains_or_comes_twice():
    account = make_account()
    account.losses["cause"][:4] = Cause.UNEXPLAINED
    copies = odd_rows(Odd.DUPLICATED, np.zeros(7, ODD_DTYPE))
    account = replace(account, measure=replace(account.measure, duplicated=7), odd=copies)
    summary = make_summary(account, make_manifest(make_scenario(gates=[])))
    assert summary["verdict"] == "fail"
    assert summary["reasons"] == [
        "gate not met: loss.unexplained == 0 (it is 4)",
        "gate not met: ledger.duplicated == 0 (it is 7)",
    ]


def test_without_probes_there_is_a_latency_and_no_bias_of_it():
    summary = make_summary(make_account(probes=ProbeDelays()), make_manifest())
    assert summary["latency_ms"]["p50"] is not None
    assert summary["generator"]["bias_n"] == 0
    assert (summary["generator"]["bias_ms"], summary["generator"]["bias_ratio"]) == (None, None)
