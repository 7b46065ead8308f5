"""Each saboteur is caught every time, and what it did is told by its right name, in the right number, on its own node.

`tests/selftest/scenarios/<name>.yaml` triggers the fault of `nodes/saboteurs/<name>`; here stands what fanlab must say:
which alarms (fields of summary.json above 0), and of what is lost, which causes and hops, of copies and of updates that
caches missed, which causes. What the saboteur itself did is the `main` figure: the losses of the first cause, or else
the alarm. It is exact where the scenario fixes it, and otherwise within what rate × time × clients leave open: some of
the least may be lost in the break before, for a node that comes back late has less time to do wrong. None of it may be
found on a good node.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import yaml
from lines import Line
from observe import LENIENT, Observed, observe

from fanlab.ledger.cached import MissCause
from fanlab.ledger.causes import Cause
from fanlab.ledger.odd import Odd

SCENARIOS = Path(__file__).parent / "scenarios"
SEEDS = range(1, 21)


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be said, and beside it nothing but what may be."""

    alarms: frozenset[str]  # all of these counts of the ledger are above 0 …
    also: frozenset[str] = frozenset()  # … and of these may be; the other alarms must be 0
    causes: tuple[str, ...] = ()  # of what is lost: where it must be lost the first must be there; the others may
    hops: frozenset[str] = frozenset()
    copies: frozenset[str] = frozenset()
    main: tuple[int, int] | None = None  # at least and at most
    late: bool = False  # its alarm is a gate on latency
    stale: bool = False  # its alarm is entries left wrong in a cache
    missed: tuple[str, ...] = ()  # of what a cache missed: the first must be there, at the saboteur only; others may


ALARMS = frozenset({"lost", "duplicated", "reordered", "unexpected", "disagreed", "corrupted"})


def _lost(first: str, *others: str, main: int | tuple[int, int], hops: Sequence[str]) -> Expected:
    return Expected(frozenset({"lost"}), causes=(first, *others), hops=frozenset(hops), main=_range(main))


def _odd(alarm: str, *, main: int | tuple[int, int], also: Sequence[str] = (), copies: Sequence[str] = ()) -> Expected:
    causes = ("client_reconnecting", "node_down") if "lost" in also else ()
    hops = frozenset({"client", "redis_node"} if causes else ())
    return Expected(frozenset({alarm}), frozenset(also), causes, hops, frozenset(copies), _range(main))


def _range(main: int | tuple[int, int]) -> tuple[int, int]:
    return main if isinstance(main, tuple) else (main, main)


_BREAK = ("resubscribe_gap",)  # the short one that the good node has, too
_RESTART = ("redis_down", *_BREAK)
_AWAY = ("node_down", "node_crash_in_flight", "client_reconnecting")
_UP = ("publisher_redis", "redis_node")
EXPECTED: Mapping[str, Expected] = {
    "acknowledges-early": _lost("no_subscriber", main=(75, 150), hops=["redis_node"]),
    "closes-without-goodbye": _lost("client_reconnecting", *_BREAK, main=(40, 100), hops=["client", "redis_node"]),
    "corrupts-a-byte": _odd("corrupted", main=90),
    "crosstalk": _odd("unexpected", main=240),
    "cut-link": _lost("partition", main=(270, 400), hops=["redis_node"]),
    "deaf-after-restart": _lost("unexplained", *_RESTART, main=(350, 500), hops=_UP),
    "drops-oldest-when-full": _lost("unexplained", main=(4000, 7000), hops=["redis_node"]),
    "drops-others-on-leave": _lost("no_subscriber", *_AWAY, main=(100, 160), hops=["redis_node", "client"]),
    "duplicates-on-reconnect": _odd("duplicated", main=255, also=["lost", "reordered"], copies=["replay"]),
    "forgets-a-client": _lost("unexplained", main=(190, 200), hops=["node_socket"]),
    "forgets-to-resubscribe": replace(
        _lost("no_subscriber", *_RESTART, main=(350, 480), hops=_UP), stale=True, missed=("no_subscriber", *_RESTART)
    ),
    "head-of-line": Expected(frozenset(), late=True),
    # From the thaw at 2.21 s to the end at 3.5 s are 64.5 messages of 50/s, each once more to five clients at most.
    "leaves-zombies": _odd("duplicated", main=(250, 325), also=["lost"], copies=["double_subscription"]),
    "lying-proxy": _lost("unexplained", main=7, hops=["node_socket"]),
    # Six clients, 50/s, from when the node is back to the end at 3 s: it starts at 1.41 s, and may take 0.9 s for that.
    "never-confirms": _lost(
        "never_subscribed", "never_returned", *_AWAY, main=(200, 480), hops=["client", "redis_node", "unknown"]
    ),
    "partial-resubscribe": _lost("no_subscriber", *_RESTART, main=(350, 480), hops=_UP),
    "reorders-across-channels": _odd("disagreed", main=(300, 360)),
    "reorders-within-channel": _odd("reordered", main=75),
    "skips-during-fragmented-send": _lost("unexplained", main=(250, 420), hops=["node_socket"]),
    "spins-after-keepalive-death": _lost("no_subscriber", *_RESTART, main=(350, 480), hops=_UP),
    "stale-cache": Expected(frozenset(), stale=True, missed=("not_taken",)),
    "stops-listener-with-last-unsubscribe": _lost(
        "unexplained", *_AWAY, main=(300, 400), hops=["redis_node", "client"]
    ),
    "subscribes-twice": _odd("duplicated", main=450, copies=["double_subscription"]),
    "write-fails": _lost("write_error", main=40, hops=["node_socket"]),
}


@dataclass(frozen=True, slots=True)
class Caught:
    """One saboteur, one seed."""

    alone: ClassVar[bool] = False
    saboteur: str
    seed: int

    @property
    def name(self) -> str:
        """`saboteurs crosstalk seed 3`."""
        return f"saboteurs {self.saboteur} seed {self.seed}"

    def run(self, out: Path) -> Sequence[Line]:
        """One run, one line."""
        scenario = yaml.safe_load((SCENARIOS / f"{self.saboteur}.yaml").read_text(encoding="utf-8"))
        seen = observe({**scenario, "seed": self.seed, "limits": LENIENT}, out)
        wrong = list(_amiss(seen, EXPECTED[self.saboteur]))
        if not seen.agrees:
            wrong.append(f"SQL differs: {seen.disputes[:3]}")
        return [Line(self.name, not wrong, "; ".join([*wrong, _told(seen)]), seen.agrees)]


def _amiss(seen: Observed, expected: Expected) -> Iterator[str]:
    """What is not as it must be."""
    summary = seen.summary
    if summary["verdict"] == "invalid" or (summary["verdict"] == "pass" and (expected.late or not expected.causes)):
        yield f"the verdict is {summary['verdict']}: {'; '.join(summary['reasons'][:2])}"
    for alarm in sorted(ALARMS):
        count = summary["ledger"][alarm]
        if alarm in expected.alarms and count == 0:
            yield f"nothing is {alarm}"
        elif count and alarm not in expected.alarms | expected.also:
            yield f"{count} {alarm}"
    causes, hops = _positive(summary["loss"]["by_cause"]), _positive(summary["loss"]["by_hop"])
    copies = _positive(summary["duplicates"]["by_cause"])
    if hops.get("unknown", 0) <= causes.get("node_crash_in_flight", 0):
        hops.pop("unknown", None)  # a node that dies takes the last lines of its journal with it
    if "lost" in expected.alarms and not causes.get(expected.causes[0]):
        yield f"nothing is lost by {expected.causes[0]}"
    for what, found, allowed in (
        ("lost by", causes, set(expected.causes)),
        ("lost on the hop", hops, expected.hops),
        ("copies by", copies, expected.copies),
    ):
        yield from (f"{found[name]} {what} {name}" for name in sorted(found.keys() - allowed))
    yield from _main_amiss(seen, expected)
    gates = [gate["expr"] for gate in summary["gates"] if not gate["ok"]]
    if expected.late and not any(gate.startswith("latency") for gate in gates):
        yield "no gate on latency fails"
    if expected.stale and not (summary["cache"] and summary["cache"]["wrong_for_good"]):
        yield "no cache is wrong for good"
    yield from _misses_amiss(seen, expected)


def _main_amiss(seen: Observed, expected: Expected) -> Iterator[str]:
    """What is not as it must be with the figure that is the saboteur's own doing."""
    if expected.main is None:
        return
    if "lost" in expected.alarms:
        name, losses = expected.causes[0], seen.account.losses
        nodes = losses["node"][losses["cause"] == Cause[name.upper()]]
    else:
        (name,) = expected.alarms
        odd = seen.account.odd
        nodes = odd["node"][odd["kind"] == Odd[name.upper()]]
    low, high = expected.main
    kinds = [node["kind"] for node in seen.manifest["plan"]["nodes"]]
    gap = _gap(seen, kinds) if set(_BREAK) & set(expected.causes) else 0
    if not (low <= len(nodes) + gap and len(nodes) <= high):
        yield f"{len(nodes)} {name} where {low} to {high} were planted, with {gap} until it was back"
    if elsewhere := sum(not kinds[node].startswith("saboteurs/") for node in nodes.tolist()):
        yield f"{elsewhere} {name} on a node that did nothing wrong"


def _gap(seen: Observed, kinds: Sequence[str]) -> int:
    """What saboteurs lost until they were back from a break: how long that takes is the machine's doing, not theirs."""
    losses = seen.account.losses
    nodes = losses["node"][np.isin(losses["cause"], [Cause[name.upper()] for name in _BREAK])].tolist()
    return sum(kinds[node].startswith("saboteurs/") for node in nodes)


def _misses_amiss(seen: Observed, expected: Expected) -> Iterator[str]:
    """What is not as it must be with the updates that caches missed."""
    if seen.account.caches is None:
        return
    misses = seen.account.caches.misses
    nodes_of = {cause.label: set(misses["node"][misses["cause"] == cause].tolist()) for cause in MissCause}
    kinds = [node["kind"] for node in seen.manifest["plan"]["nodes"]]
    planted = {node for node, kind in enumerate(kinds) if kind.startswith("saboteurs/")}
    if expected.missed and nodes_of[expected.missed[0]] != planted:
        yield f"updates missed by {expected.missed[0]} at nodes {sorted(nodes_of[expected.missed[0]])}"
    for name in sorted(name for name, nodes in nodes_of.items() if nodes and name not in expected.missed):
        yield f"updates missed by {name}"


def _positive(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _told(seen: Observed) -> str:
    summary = seen.summary
    parts = [f"{summary['ledger'][alarm]} {alarm}" for alarm in sorted(ALARMS) if summary["ledger"][alarm]]
    for what in (summary["loss"]["by_cause"], summary["loss"]["by_hop"], summary["duplicates"]["by_cause"]):
        parts += [f"{count} {name}" for name, count in _positive(what).items()]
    if summary["cache"] and summary["cache"]["wrong_for_good"]:
        parts.append(f"{summary['cache']['wrong_for_good']} cache entries wrong for good")
        parts += [f"{count} updates missed: {name}" for name, count in _positive(summary["cache"]["by_cause"]).items()]
    failed = [f"{gate['expr']} is {gate['actual']:.4g}" for gate in summary["gates"] if gate["expr"][:7] == "latency"]
    return ", ".join(parts + failed)


def batches(*, quick: bool) -> list[Caught]:
    """All of them, 20 seeds each; quick: each once."""
    names = sorted(path.stem for path in SCENARIOS.glob("*.yaml"))
    assert set(names) == set(EXPECTED), set(names) ^ set(EXPECTED)
    return [Caught(name, seed) for name in names for seed in (SEEDS[:1] if quick else SEEDS)]
