"""Each cause of a loss planted alone and in pairs: on nodes that keep a journal every one must be told, and told right;
on black boxes the hop must be right for 95 % over all runs, and where it is not, it must be said that it is not known.

A run has a control node that nothing is done to, and one node with clients of its own per plant. The first plant acts
1 s after time 0, the second when the first is over. `bands` say what is true of a loss by when it was published.

Faults that no cause is named after are planted alone: what they cost must go back to them.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from faultplants import FAULT_PLANTS
from lines import Line
from observe import LENIENT, Observed, look, observe
from plants import PLANTS, Band, Plant, Slot

from fanlab.clock import NS_PER_S
from fanlab.ledger.causes import Cause, Hop
from fanlab.rundir import RunDir
from fanlab.topology import cgroups

FIRST_AT_S = 1.0
REST_S = 1.0
RIGHT_HOPS = 0.95
HOPS: Mapping[Cause, frozenset[Hop]] = {
    Cause.PUBLISH_FAILED: frozenset({Hop.PUBLISHER_REDIS}),
    Cause.REDIS_DOWN: frozenset({Hop.PUBLISHER_REDIS}),
    Cause.NO_SUBSCRIBER: frozenset({Hop.REDIS_NODE}),
    Cause.NODE_DOWN: frozenset({Hop.REDIS_NODE}),
    Cause.RESUBSCRIBE_GAP: frozenset({Hop.REDIS_NODE}),
    Cause.OUTPUT_BUFFER_KILL: frozenset({Hop.REDIS_NODE}),
    Cause.PARTITION: frozenset({Hop.REDIS_NODE}),
    Cause.NODE_CRASH_IN_FLIGHT: frozenset({Hop.REDIS_NODE, Hop.NODE_SOCKET}),
    Cause.SLOW_CLIENT_DROP: frozenset({Hop.NODE_SOCKET}),
    Cause.NOT_OPEN: frozenset({Hop.NODE_SOCKET}),
    Cause.WRITE_ERROR: frozenset({Hop.NODE_SOCKET}),
    Cause.CLIENT_RECONNECTING: frozenset({Hop.CLIENT}),
    Cause.NEVER_RETURNED: frozenset({Hop.CLIENT}),
    Cause.NEVER_SUBSCRIBED: frozenset({Hop.CLIENT}),
    Cause.GENERATOR_FAULT: frozenset({Hop.CLIENT}),
}


@dataclass(frozen=True, slots=True)
class Planted:
    """One or two plants in one run."""

    alone: ClassVar[bool] = False
    plants: tuple[str, ...]  # names in PLANTS, or in FAULT_PLANTS
    journal: bool

    @property
    def name(self) -> str:
        """`causes journal redis_down + partition`."""
        return f"causes {'journal' if self.journal else 'black box'} {' + '.join(self.plants)}"

    def run(self, out: Path) -> Sequence[Line]:
        """One run, one line."""
        plants = [PLANTS.get(name) or FAULT_PLANTS[name] for name in self.plants]
        for plant in plants:
            if plant.need is not None and (why := cgroups.refusal(plant.need)):
                return [Line(self.name, ok=True, told=f"not planted: {why}")]
        slots, at_s = [], FIRST_AT_S
        for ordinal, plant in enumerate(plants):
            slots.append(Slot(f"node-{ordinal + 2}", f"planted-{ordinal + 1}", at_s))
            at_s += plant.lasts_s + REST_S
        actors = [actor for plant, slot in zip(plants, slots, strict=True) for actor in plant.actors(slot)]
        seen = observe(self._scenario(plants, slots, at_s), out, actors)
        marred: dict[str, set[tuple[int, ...]]] = {}
        for plant in plants:
            if plant.mar is not None:  # damage to the evidence itself, once the run is over
                marred[plant.name] = _marred_once(plant.mar, out)
                seen = look(RunDir(out))
        judged = _Judged(seen, plants, slots, marred)
        wrong = judged.journaling() if self.journal else judged.black_box()
        if not seen.agrees:
            wrong.append(f"SQL differs: {seen.disputes[:3]}")
        share = None if self.journal else (judged.right, judged.right + judged.unknown)
        return [Line(self.name, not wrong, "; ".join(wrong) or judged.told(), seen.agrees, share)]

    def _scenario(self, plants: Sequence[Plant], slots: Sequence[Slot], end_s: float) -> dict[str, Any]:
        nodes: list[dict[str, Any]] = [{"kind": "websockets"}]
        clients = [{"group": "control", "count": 2, "channels": ["news"], "nodes": ["node-1"]}]
        publishers = [{"name": "ticker", "channel": "news", "rate": "100/s"}]
        redis: dict[str, str] = {}
        for plant, slot in zip(plants, slots, strict=True):
            nodes.append({"kind": plant.kind, "env": dict(plant.env(slot)), "journal": self.journal})
            channel = "bulk" if plant.bulky else "news"
            group = {"group": slot.group, "count": 2, "channels": [channel], "nodes": [slot.node], **plant.clients}
            if plant.moves:
                group |= {"nodes": [slot.node, "node-1"], "count": 4}
            clients += [group, *plant.more(slot)]
            redis |= plant.redis
        if any(plant.bulky for plant in plants):
            publishers.append({"name": "mill", "channel": "bulk", "rate": "120/s", "payload": "64kB"})
        return {
            "name": "planted",
            "question": "Is each loss put down to what was done?",
            "topology": {"nodes": nodes, "redis": {"config": redis}},
            "channels": ["news", *(["bulk"] if len(publishers) > 1 else [])],
            "clients": clients,
            "publishers": publishers,
            "phases": {
                "warm_up": "300ms",
                "measure": f"{end_s:g}s",
                "drain": {"quiet": "700ms", "deadline": "20s"},
            },
            "faults": [fault for plant, slot in zip(plants, slots, strict=True) for fault in plant.faults(slot)],
            "limits": LENIENT,
        }


class _Truth(NamedTuple):
    """What may be said of a loss: a cause, and the injected fault that it goes back to, -1 for none."""

    cause: Cause
    fault: int


@dataclass(slots=True)
class _Judged:
    seen: Observed
    plants: Sequence[Plant]
    slots: Sequence[Slot]
    marred: Mapping[str, set[tuple[int, ...]]]
    counts: dict[str, int] = field(default_factory=dict)
    right: int = 0
    unknown: int = 0

    def journaling(self) -> list[str]:
        """What is wrong: a cause or fault that cannot be, a hop that does not belong to it, a plant without a loss."""
        wrong: Counter[str] = Counter()
        fruitful: set[str] = set()
        for loss in self.seen.account.losses:
            truths = self._truths(loss)
            cause, hop, fault = Cause(int(loss["cause"])), Hop(int(loss["hop"])), int(loss["fault"])
            self.counts[cause.label] = self.counts.get(cause.label, 0) + 1
            if _Truth(cause, fault) not in truths.values():
                what = f"{cause.label} by {self._fault(fault)} where only {self._labels(truths.values())} can be"
                wrong[f"{what}, {self._when(loss)}"] += 1
            elif hop in self._hops(cause, fault):
                self.right += 1
            elif hop is Hop.UNKNOWN and (cause is Cause.NODE_CRASH_IN_FLIGHT or self._of_clients(fault)):
                self.unknown += 1  # the journal went with the node; or it had nobody to hand it to, and says nothing
            else:
                wrong[f"{cause.label} on the hop {hop.label}"] += 1
            fruitful |= {plant.name for plant in self.plants if plant.shown_by(cause) and plant.name in truths}
        return self._told_wrong(wrong, fruitful)

    def black_box(self) -> list[str]:
        """What is wrong: a loss that nobody planted, a hop that cannot be, a plant without a loss.

        A loss by a fault that fanlab injects must go back to that, whatever nodes say.
        """
        wrong: Counter[str] = Counter()
        fruitful: set[str] = set()
        for loss in self.seen.account.losses:
            truths = self._truths(loss)
            hop = Hop(int(loss["hop"]))
            possible = frozenset[Hop]().union(*(self._hops(*truth) for truth in truths.values()))
            fruitful |= truths.keys()
            fault, faults = int(loss["fault"]), {truth.fault for truth in truths.values()}
            if faults and fault not in faults and any(plant.name in FAULT_PLANTS for plant in self.plants):
                wrong[f"by {self._fault(fault)} where only {self._labels(truths.values())} can be"] += 1
            if hop in possible:
                self.right += 1
            elif hop is Hop.UNKNOWN and possible:
                self.unknown += 1
            else:
                what = " or ".join(sorted(one.label for one in possible)) or "nothing"
                wrong[f"hop {hop.label} where only {what} can be, {self._when(loss)}"] += 1
        return self._told_wrong(wrong, fruitful)

    def told(self) -> str:
        """The figures of a line that passed."""
        total = self.right + self.unknown
        if not self.counts:
            return f"{self.right} of {total} hops right, {self.unknown} said to be unknown"
        unknown = f", the hop of {self.unknown} unknown" if self.unknown else ""
        return f"{total} of {total} right{unknown}: " + ", ".join(f"{n} {cause}" for cause, n in self.counts.items())

    def _told_wrong(self, wrong: Counter[str], fruitful: set[str]) -> list[str]:
        barren = [
            f"not one loss by {plant.name}"
            for plant in self.plants
            if plant.name not in fruitful and not plant.harmless
        ]
        return [f"{count} × {what}" for what, count in wrong.most_common(4)] + barren

    def _truths(self, loss: Any) -> dict[str, _Truth]:
        """What can be true of a loss, by the name of the plant, and a number where a plant admits more than one."""
        group, t_s = self.seen.group_of(int(loss["client"])), self._t_s(loss)
        key = (int(loss["client"]), int(loss["stream"]), int(loss["seq"]))
        found: dict[str, _Truth] = {}
        for plant, slot in zip(self.plants, self.slots, strict=True):
            if plant.mar is not None:
                causes = {(Cause.GENERATOR_FAULT, False)} if key in self.marred[plant.name] else set()
            else:
                ours = plant.wide or group.startswith(slot.group)
                causes = _causes_at(plant.bands(slot, self.seen), t_s) if ours else set()
            for cause, by_itself in causes:
                name = plant.name if plant.shown_by(cause) else f"{plant.name}, {cause.label}"
                faults = [-1] if by_itself else plant.faults_of(slot, self.seen)
                for turn, fault in enumerate(faults):
                    found[f"{name}, by itself" if by_itself else f"{name}, {turn}" if turn else name] = _Truth(
                        cause, fault
                    )
        return found

    def _hops(self, cause: Cause, fault: int) -> frozenset[Hop]:
        """Where losses by this cause happen, by this fault.

        Only a paused node has what it then hands on too late; and what is between a node and its clients is not
        between Redis and the node.
        """
        if cause is Cause.PARTITION and self._of_clients(fault):
            return frozenset({Hop.NODE_SOCKET})
        paused = fault >= 0 and self.seen.account.faults[fault].kind == "pause"
        return HOPS[cause] | ({Hop.NODE_SOCKET} if cause is Cause.NODE_DOWN and paused else frozenset())

    def _of_clients(self, fault: int) -> bool:
        """Whether a fault is one of the way from a node to its clients."""
        by = self.seen.account.faults[fault] if fault >= 0 else None
        return by is not None and (by.settings.get("link") == "clients" or by.kind == "reconnect-storm")

    def _t_s(self, loss: Any) -> float:
        return (int(loss["intended_ns"]) - self.seen.account.zero_ns) / NS_PER_S

    def _when(self, loss: Any) -> str:
        return f"as at {self._t_s(loss):.3f} s for client {int(loss['client'])}"

    def _fault(self, fault: int) -> str:
        return "no fault" if fault < 0 else self.seen.account.faults[fault].kind

    def _labels(self, truths: Iterable[_Truth]) -> str:
        return " or ".join(sorted(f"{cause.label} by {self._fault(fault)}" for cause, fault in truths)) or "nothing"


def _marred_once(mar: Callable[[RunDir], set[tuple[int, ...]]], out: Path) -> set[tuple[int, ...]]:
    """What that cost; noted, for when the run is judged again."""
    note = out / "marred.json"
    if not note.exists():
        note.write_text(json.dumps(sorted(mar(RunDir(out)))), encoding="utf-8")
    return {tuple(key) for key in json.loads(note.read_text(encoding="utf-8"))}


def _causes_at(bands: Sequence[Band], t_s: float) -> set[tuple[Cause, bool]]:
    """The causes that a loss of that time may have, and whether it goes back to no fault then."""
    return {(cause, band.by_itself) for band in bands if band.from_s <= t_s <= band.to_s for cause in band.causes}


def totals(lines: Sequence[Line]) -> list[Line]:
    """A line for the share of hops known on all black boxes together, if there are any."""
    shares = [line.share for line in lines if line.share is not None]
    if not shares:
        return []
    right, total = (sum(part) for part in zip(*shares, strict=True))
    told = f"{right} of {total} hops right ({right / max(1, total):.1%}), the others said to be unknown"
    return [Line("causes black box, all together", total > 0 and right >= RIGHT_HOPS * total, told)]


def batches(*, quick: bool) -> list[Planted]:
    """Alone and in all pairs, with a journal and without; quick: some of them."""
    if quick:
        alone = ("publish_failed", "no_subscriber", "resubscribe_gap", "client_reconnecting", "generator_fault")
        pairs = (("redis_down", "node_down"), ("partition", "never_returned"))
        return [
            *(Planted((name,), journal=True) for name in alone),
            *(Planted(pair, journal=True) for pair in pairs),
            *(Planted((name,), journal=False) for name in ("resubscribe_gap", "node_down", "slow_client_drop")),
            *(Planted((name,), journal) for name in ("restart", "redis-maxclients") for journal in (True, False)),
        ]
    chosen = [(name,) for name in (*PLANTS, *FAULT_PLANTS)] + list(combinations(PLANTS, 2))
    return [Planted(plants, journal) for journal in (True, False) for plants in chosen]
