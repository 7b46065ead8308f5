"""The lying proxy: exactly the K messages that it lost, duplicated, reordered or corrupted, and nothing beside them.

Each seed has a node of its own behind a proxy of its own with clients of its own; ten of them share a run.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from lines import Line, same_ids
from observe import LENIENT, Observed, observe

from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.odd import Odd

KINDS = ("lose", "duplicate", "reorder", "corrupt")
COUNTS = (0, 1, 7, 1000)
SEEDS = range(1, 21)
NODES_PER_RUN = 10
CLIENTS_PER_NODE = 8
_ODD = {"duplicate": Odd.DUPLICATED, "reorder": Odd.REORDERED, "corrupt": Odd.CORRUPTED}


@dataclass(frozen=True, slots=True)
class Lies:
    """One kind of lie, K of them at each of some nodes, whose proxies differ in their seeds."""

    alone: ClassVar[bool] = False
    kind: str
    count: int
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """`proxy lose K=7`."""
        return f"proxy {self.kind} K={self.count}"

    def run(self, out: Path) -> Sequence[Line]:
        """One run, a line per seed."""
        seen = observe(self._scenario(), out)
        return [self._line(seen, ordinal, seed) for ordinal, seed in enumerate(self.seeds)]

    def _scenario(self) -> dict[str, Any]:
        lie = {"LIE": self.kind, "LIE_COUNT": self.count, "LIE_AFTER": 60, "LIE_SPAN": 400}
        return {
            "name": f"proxy-{self.kind}-{self.count}",
            "question": "Does the ledger find exactly the messages that a lying proxy meddled with?",
            "topology": {
                "nodes": [{"kind": "saboteurs/lying-proxy", "env": {**lie, "LIE_SEED": seed}} for seed in self.seeds]
            },
            "channels": ["news"],
            "clients": [
                {
                    "group": f"group-{seed}",
                    "count": CLIENTS_PER_NODE,
                    "channels": ["news"],
                    "nodes": [f"node-{ordinal + 1}"],
                    "spawn_rate": "1k/s",
                }
                for ordinal, seed in enumerate(self.seeds)
            ],
            "publishers": [{"name": "ticker", "channel": "news", "rate": "100/s"}],
            "phases": {"warm_up": "300ms", "measure": "5s", "drain": {"quiet": "1s", "deadline": "30s"}},
            "limits": LENIENT,
        }

    def _line(self, seen: Observed, ordinal: int, seed: int) -> Line:
        group = seen.names.plan.groups[ordinal]
        mine = range(group.first_client, group.first_client + group.count)
        planted = set(_planted(seen.rundir.journal / f"node-{ordinal + 1}.truth.jsonl", self.kind))
        losses = seen.account.losses[np.isin(seen.account.losses["client"], mine)]
        odd = seen.account.odd[np.isin(seen.account.odd["client"], mine)]
        wrong: list[str] = []
        if len(planted) != self.count:
            wrong.append(f"the proxy did {len(planted)} deeds and not {self.count}")
        if self.kind == "lose":
            wrong += _differences(losses, planted)
            if len(losses) and set(losses["cause"]) | set(losses["hop"]) != {Cause.UNEXPLAINED, Hop.NODE_SOCKET}:
                wrong.append("a loss behind the node was put down to something else")
        elif len(losses):
            wrong.append(f"{len(losses)} losses that nobody planted")
        kind = _ODD.get(self.kind)
        wrong += [] if kind is None else _differences(odd[odd["kind"] == kind], planted)
        if (others := int(np.count_nonzero(odd["kind"] != (255 if kind is None else kind)))) > 0:
            wrong.append(f"{others} deliveries odd in another way")
        if not seen.agrees:
            wrong.append(f"SQL differs: {seen.disputes[:3]}")
        told = "; ".join(wrong) or f"{self.count} planted, {self.count} found, the same ones"
        return Line(f"{self.name} seed {seed}", not wrong, told, seen.agrees)


def _differences(rows: np.ndarray, planted: set[tuple[int, ...]]) -> list[str]:
    found = list(zip(*(rows[name].tolist() for name in ("client", "stream", "seq")), strict=True))
    wrong = [] if len(found) == len(set(found)) else [f"{len(found) - len(set(found))} found more than once"]
    differs = same_ids(set(found), planted)
    return [*wrong, differs] if differs else wrong


def _planted(truth: Path, kind: str) -> Iterator[tuple[int, int, int]]:
    """(client, stream, seq) of each deed that the proxy noted."""
    if truth.exists():
        for line in truth.read_text(encoding="utf-8").splitlines():
            deed = json.loads(line)
            if deed["deed"] == kind:
                mark = deed["mark"]
                yield int(deed["client"]), int(mark[7:11], 16), int(mark[11:19], 16)


def batches(*, quick: bool) -> list[Lies]:
    """Each kind × each K, 20 seeds; quick: each kind with K = 7, three seeds, and a clean run."""
    if quick:
        return [Lies(kind, 7, (1, 2, 3)) for kind in KINDS] + [Lies("lose", 0, (1, 2, 3))]
    cut = [tuple(SEEDS[at : at + NODES_PER_RUN]) for at in range(0, len(SEEDS), NODES_PER_RUN)]
    return [Lies(kind, count, seeds) for kind in KINDS for count in COUNTS for seeds in cut]
