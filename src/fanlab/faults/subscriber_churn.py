"""subscriber-churn: other clients come and go at a node, and its channels at Redis with them."""

import asyncio
import contextlib
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fanlab.clock import NS_PER_S
from fanlab.errors import EnvironmentFailure, HarnessError
from fanlab.faults.fault import Target
from fanlab.topology.backend import UnitState

ENDS_WITHIN_S: Final = 10.0


@dataclass(slots=True)
class SubscriberChurn:
    """Start a process that makes them, and end it to heal."""

    target: Target

    async def inject(self) -> None:
        """Start it, beside the load."""
        means, settings = self.target.means, self.target.settings
        if means.rundir is None or self.target.unit not in means.nodes:
            raise HarnessError(f"{self.target.unit} is no node of this run")
        node = means.nodes[self.target.unit]
        argv = [means.backend.python, "-m", "fanlab.load.churn", "--url", node.ws_url, "--protocol", node.protocol]
        argv += ["--rate", str(settings["rate_per_s"]), "--stay", str(settings["stay_ns"] / NS_PER_S)]
        argv += ["--seed", str(means.seed), "--out", str(self._file), "--", *means.channels]
        await means.backend.start_helper(self._unit, argv, {}, means.rundir.logs / f"{self._unit}.log")

    async def has_bitten(self) -> bool:
        """The node has confirmed a subscription to one that came."""
        return self._subscribed() > 0

    async def heal(self) -> None:
        """SIGTERM: they all leave. Raises EnvironmentFailure if it had ended before, by itself."""
        backend = self.target.backend
        if backend.state(self._unit) is UnitState.GONE:
            raise EnvironmentFailure(f"{self._unit} has ended by itself: {' '.join(backend.log_tail(self._unit, 1))}")
        await backend.signal(self._unit, signal.SIGTERM)
        async with asyncio.timeout(ENDS_WITHIN_S):
            await backend.exited(self._unit)

    async def has_healed(self) -> bool:
        """It is gone, and the node answers."""
        gone = self.target.backend.state(self._unit) is UnitState.GONE
        return gone and await self.target.backend.probe(self.target.unit)

    @property
    def _unit(self) -> str:
        return f"churn-{self.target.id}"

    @property
    def _file(self) -> Path:
        if self.target.means.rundir is None:
            raise HarnessError("churn needs a run directory")
        return (self.target.means.rundir.journal / f"{self._unit}.jsonl").absolute()

    def _subscribed(self) -> int:
        with contextlib.suppress(OSError, ValueError, IndexError):
            last = self._file.read_text(encoding="utf-8").split("\n")[-2]  # the last whole line
            return int(json.loads(last)["subscribed"])
        return 0
