"""Latency told right: delays injected by a proxy are recovered, and a freeze gives the percentile that theory gives.

Both are held against what was injected, not against what was asked for: on a busy machine a proxy wakes late.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lines import Line
from observe import LENIENT, observe

from fanlab.clock import NS_PER_S
from fanlab.ledger.histogram import Histogram

DELAYS_MS = (1, 10, 100, 1000)
ABSOLUTE_MS, SHARE = 0.5, 0.02
PERCENTS = (5, 50)
FREEZE_S, RATE_PER_S, MEASURE_S, FREEZE_SHARE = 2.0, 200, 10, 0.05


@dataclass(frozen=True, slots=True)
class Delays:
    """One node per delay behind a proxy that holds every frame back for so long, and one that does not."""

    alone: ClassVar[bool] = True
    repeat: int

    @property
    def name(self) -> str:
        """`latency delays #1`."""
        return f"latency delays #{self.repeat}"

    def run(self, out: Path) -> Sequence[Line]:
        """One run, a line per delay: the difference to the node without delay, against the proxy's own clock."""
        nodes = [{"kind": "saboteurs/lying-proxy", "env": {"LIE": "none"}}]
        nodes += [
            {"kind": "saboteurs/lying-proxy", "env": {"LIE": "delay", "LIE_DELAY_MS": delay}} for delay in DELAYS_MS
        ]
        scenario = {
            "name": "delays",
            "question": "Are injected delays recovered?",
            "seed": self.repeat,
            "topology": {"nodes": nodes},
            "channels": ["news"],
            "clients": [{"group": "readers", "count": 4 * len(nodes), "channels": ["news"]}],
            "publishers": [{"name": "ticker", "channel": "news", "rate": {"kind": "poisson", "rate": "100/s"}}],
            "phases": {"warm_up": "1s", "measure": "6s", "drain": {"quiet": "2s", "deadline": "30s"}},
            "limits": LENIENT,
        }
        seen = observe(scenario, out)
        by_node = seen.account.latency.by_node
        lines = []
        for ordinal, delay_ms in enumerate(DELAYS_MS, start=2):
            held_ms = _held_ms(seen.rundir.journal / f"node-{ordinal}.truth.jsonl")
            base_ms, found_ms = _percents_ms(by_node["node-1"]), _percents_ms(by_node[f"node-{ordinal}"])
            lines.append(self._line(delay_ms, held_ms, base_ms, found_ms, agrees=seen.agrees))
        return lines

    def _line(
        self,
        delay_ms: float,
        held_ms: Sequence[float],
        base_ms: Sequence[float],
        found_ms: Sequence[float],
        *,
        agrees: bool,
    ) -> Line:
        """Judge one delay, by PERCENTS of what the proxy did, of the node without a delay and of the node with it.

        The lower percentile has to be right: what a busy machine does to half of the messages is no part of the delay.
        The median, too, but for as much as the machine alone spreads latency at the node without a delay.
        """
        name = f"{self.name} {delay_ms:g} ms"
        if not (held_ms and base_ms and found_ms):
            return Line(name, ok=False, told="too few deliveries")
        (low_base, base), (low_found, found), (low_held, held) = base_ms, found_ms, held_ms
        low_off, off = low_found - low_base - low_held, found - base - held
        allowed = max(ABSOLUTE_MS, SHARE * delay_ms)
        near = abs(low_off) <= allowed and abs(off) <= allowed + base - low_base and low_held >= delay_ms
        told = f"{held:.3f} ms held, {found - base:.3f} ms seen, {off:+.3f} ms; p5 {low_off:+.3f} ms"
        return Line(name, near and agrees, told, agrees)


@dataclass(frozen=True, slots=True)
class Freeze:
    """A node frozen for F of T seconds: a message sent x before its end waits x, so p99 is at (F − p99) / T = 1 %."""

    alone: ClassVar[bool] = True
    repeat: int

    @property
    def name(self) -> str:
        """`latency freeze #1`."""
        return f"latency freeze #{self.repeat}"

    def run(self, out: Path) -> Sequence[Line]:
        """One run, one line. F is taken from the fault's stamps: what was frozen, not what was asked for."""
        scenario = {
            "name": "freeze",
            "question": "Does a freeze give the p99 that theory gives?",
            "seed": self.repeat,
            "topology": {"nodes": {"kind": "websockets"}},
            "channels": ["news"],
            "clients": [{"group": "readers", "count": 2, "channels": ["news"], "ping_timeout": "20s"}],
            "publishers": [{"name": "ticker", "channel": "news", "rate": f"{RATE_PER_S}/s"}],
            "phases": {"warm_up": "500ms", "measure": f"{MEASURE_S}s", "drain": {"quiet": "1s", "deadline": "30s"}},
            "faults": [{"kind": "pause", "target": "node-1", "at": "4s", "for": f"{FREEZE_S:g}s"}],
            "limits": LENIENT,
        }
        seen = observe(scenario, out)
        (fault,) = seen.account.faults
        found_ms = seen.account.latency.overall.percentile_ms(99)
        if found_ms is None or fault.confirmed_ns is None or fault.heal_requested_ns is None:
            return [Line(self.name, ok=False, told="the freeze did not take place")]
        frozen_s = (fault.heal_requested_ns - fault.confirmed_ns) / NS_PER_S
        theory_ms = (frozen_s - 0.01 * MEASURE_S) * 1000
        told = f"p99 {found_ms:.0f} ms, theory {theory_ms:.0f} ms, {found_ms / theory_ms - 1:+.1%}"
        near = abs(found_ms / theory_ms - 1) <= FREEZE_SHARE and seen.account.measure.lost == 0
        return [Line(self.name, near and seen.agrees, told, seen.agrees)]


def _held_ms(truth: Path) -> list[float]:
    """How long the proxy says that it held frames back: PERCENTS, median of its connections; [] if it says nothing."""
    told = [json.loads(line) for line in truth.read_text(encoding="utf-8").splitlines()]
    held = [line for line in told if line["deed"] == "held"]
    return [statistics.median(line[f"p{percent}_ms"] for line in held) for percent in PERCENTS] if held else []


def _percents_ms(latency: Histogram) -> list[float]:
    """PERCENTS of a node's latency; [] without deliveries."""
    return [found for percent in PERCENTS if (found := latency.percentile_ms(percent)) is not None]


def batches(*, quick: bool) -> list[Delays | Freeze]:
    """Five of each; quick: one of each."""
    repeats = range(1, 2 if quick else 6)
    return [*(Delays(repeat) for repeat in repeats), *(Freeze(repeat) for repeat in repeats)]
