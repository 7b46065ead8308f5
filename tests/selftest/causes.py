"""Each cause of a loss planted alone and in pairs: on nodes that keep a journal every one must be told, and told right;
on black boxes the hop must be right for 95 %, and where it is not, it must be said that it is not known.

A run has a control node that nothing is done to, and one node with clients of its own per plant. The first plant acts
1 s after time 0, the second when the first is over. `bands` say what is true of a loss by when it was published.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

from lines import Line
from observe import LENIENT, Observed, look, observe
from plants import PLANTS, Band, Plant, Slot

from fanlab.clock import NS_PER_S
from fanlab.ledger.causes import Cause, Hop
from fanlab.rundir import RunDir

FIRST_AT_S = 1.0
REST_S = 1.0
RIGHT_HOPS = 0.95
HOPS: Mapping[Cause, frozenset[Hop]] = {
    Cause.PUBLISH_FAILED: frozenset({Hop.PUBLISHER_REDIS}),
    Cause.REDIS_DOWN: frozenset({Hop.PUBLISHER_REDIS}),
    Cause.NO_SUBSCRIBER: frozenset({Hop.REDIS_NODE}),
    Cause.NODE_DOWN: frozenset({Hop.REDIS_NODE, Hop.NODE_SOCKET}),  # the latter: paused while it handed it on
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
    plants: tuple[str, ...]  # names in PLANTS
    journal: bool

    @property
    def name(self) -> str:
        """`causes journal redis_down + partition`."""
        return f"causes {'journal' if self.journal else 'black box'} {' + '.join(self.plants)}"

    def run(self, out: Path) -> Sequence[Line]:
        """One run, one line."""
        plants = [PLANTS[name] for name in self.plants]
        slots, at_s = [], FIRST_AT_S
        for ordinal, plant in enumerate(plants):
            slots.append(Slot(f"node-{ordinal + 2}", f"planted-{ordinal + 1}", at_s))
            at_s += plant.lasts_s + REST_S
        actors = [actor for plant, slot in zip(plants, slots, strict=True) for actor in plant.actors(slot)]
        seen = observe(self._scenario(plants, slots, at_s), out, actors)
        marred: dict[str, set[tuple[int, ...]]] = {}
        for plant in plants:
            if plant.mar is not None:  # damage to the evidence itself, once the run is over
                marred[plant.name] = plant.mar(RunDir(out))
                seen = look(RunDir(out))
        judged = _Judged(seen, plants, slots, marred)
        wrong = judged.journaling() if self.journal else judged.black_box()
        if not seen.agrees:
            wrong.append(f"SQL differs: {seen.disputes[:3]}")
        return [Line(self.name, not wrong, "; ".join(wrong) or judged.told(), seen.agrees)]

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
            clients.append(group)
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
        """What is wrong: a cause that cannot be, a hop that does not belong to it, a plant without a loss."""
        wrong: dict[str, int] = {}
        for loss, acceptable in self._losses():
            cause, hop = Cause(int(loss["cause"])), Hop(int(loss["hop"]))
            self.counts[cause.label] = self.counts.get(cause.label, 0) + 1
            if cause not in acceptable:
                what = f"{cause.label} where only {_labels(acceptable)} can be, {self._when(loss)}"
            elif hop not in HOPS[cause] and not (cause is Cause.NODE_CRASH_IN_FLIGHT and hop is Hop.UNKNOWN):
                what = f"{cause.label} on the hop {hop.label}"
            else:
                self.right += 1
                continue
            wrong[what] = wrong.get(what, 0) + 1
        barren = [plant.name for plant in self.plants if not self.counts.get(plant.name)]
        return [f"{count} × {what}" for what, count in list(wrong.items())[:4]] + [
            f"not one loss by {name}" for name in barren
        ]

    def black_box(self) -> list[str]:
        """What is wrong: a hop that cannot be, too many not known, no loss at all."""
        wrong: dict[str, int] = {}
        for loss, acceptable in self._losses():
            hop = Hop(int(loss["hop"]))
            possible = frozenset[Hop]().union(*(HOPS[cause] for cause in acceptable))
            if hop in possible:
                self.right += 1
            elif hop is Hop.UNKNOWN:
                self.unknown += 1
            else:
                what = f"hop {hop.label} where only {_labels(possible)} can be, {self._when(loss)}"
                wrong[what] = wrong.get(what, 0) + 1
        found = [f"{count} × {what}" for what, count in list(wrong.items())[:4]]
        total = self.right + self.unknown
        if total == 0:
            found.append("nothing was lost")
        elif self.right < math.ceil(RIGHT_HOPS * total):
            found.append(f"only {self.right} of {total} hops are known")
        return found

    def told(self) -> str:
        """The figures of a line that passed."""
        if self.counts:
            return f"{self.right} of {self.right} right: " + ", ".join(f"{n} {c}" for c, n in self.counts.items())
        return f"{self.right} hops right, {self.unknown} said to be unknown, 0 wrong"

    def _losses(self) -> list[tuple[Any, frozenset[Cause]]]:
        """Each loss with the causes that can be true of it."""
        return [(loss, self._acceptable(loss)) for loss in self.seen.account.losses]

    def _acceptable(self, loss: Any) -> frozenset[Cause]:
        group = self.seen.group_of(int(loss["client"]))
        t_s = self._t_s(loss)
        key = (int(loss["client"]), int(loss["stream"]), int(loss["seq"]))
        found: set[Cause] = set()
        for plant, slot in zip(self.plants, self.slots, strict=True):
            if plant.mar is not None:
                if key in self.marred[plant.name]:
                    found.add(Cause.GENERATOR_FAULT)
            elif plant.wide or group == slot.group:
                found |= _causes_at(plant.bands(slot, self.seen), t_s)
        return frozenset(found)

    def _t_s(self, loss: Any) -> float:
        return (int(loss["intended_ns"]) - self.seen.account.zero_ns) / NS_PER_S

    def _when(self, loss: Any) -> str:
        return f"as at {self._t_s(loss):.3f} s for client {int(loss['client'])}"


def _causes_at(bands: Sequence[Band], t_s: float) -> set[Cause]:
    return {cause for band in bands if band.from_s <= t_s <= band.to_s for cause in band.causes}


def _labels(members: frozenset[Any]) -> str:
    return " or ".join(sorted(member.label for member in members)) or "nothing"


def batches(*, quick: bool) -> list[Planted]:
    """Alone and in all pairs, with a journal and without; quick: six alone with, four without, two pairs."""
    if quick:
        alone = ("publish_failed", "no_subscriber", "resubscribe_gap", "client_reconnecting", "generator_fault")
        pairs = (("redis_down", "node_down"), ("partition", "never_returned"))
        return [
            *(Planted((name,), journal=True) for name in alone),
            *(Planted(pair, journal=True) for pair in pairs),
            *(Planted((name,), journal=False) for name in ("resubscribe_gap", "node_down", "slow_client_drop")),
        ]
    chosen = [(name,) for name in PLANTS] + list(combinations(PLANTS, 2))
    return [Planted(plants, journal) for journal in (True, False) for plants in chosen]
