"""latency, by packets: the kernel's netem holds them. With jitter they overtake one another, and TCP sorts them."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fanlab.clock import NS_PER_MS
from fanlab.errors import EnvironmentFailure
from fanlab.faults.packets import EASY_S, PacketFault, seen_from
from fanlab.topology import netem
from fanlab.topology.backend import REDIS

_TRIES: Final = 3


@dataclass(slots=True)
class PacketLatency(PacketFault):
    """Delay the packets of a node's link."""

    took_ns: int = 0  # the last handshake

    async def inject(self) -> None:
        """Lead them through netem. Raises EnvironmentFailure if a handshake takes as long anyway."""
        await asyncio.to_thread(self._inject)

    async def has_bitten(self) -> bool:
        """netem has let packets through, and a handshake takes at least as much longer."""
        await asyncio.sleep(EASY_S)
        return await asyncio.to_thread(self._has_bitten)

    def lacks(self) -> str:
        """Why it has not bitten."""
        took_ms, least_ms = self.took_ns / NS_PER_MS, self._least_ns() / NS_PER_MS
        through = "" if self.took_ns < self._least_ns() else "; no packet has come through netem"
        return f"a handshake between {self.target.unit} and {self.other} took {took_ms:.3f} of {least_ms:g} ms{through}"

    async def heal(self) -> None:
        """Lead them past it, let it empty itself, and remove it."""
        await asyncio.to_thread(self._run, [netem.freed(self.device())])
        while netem.delayed(await asyncio.to_thread(self._shown))[1]:  # noqa: ASYNC110 - the kernel sets no event
            await asyncio.sleep(EASY_S)
        await asyncio.to_thread(self._run, netem.lifted(self.direction))

    async def has_healed(self) -> bool:
        """Nothing of it is left, a handshake takes less again, and the node answers."""
        await asyncio.sleep(EASY_S)
        free = await asyncio.to_thread(self._is_free)
        return free and await self.target.backend.probe(self.target.unit)

    def _inject(self) -> None:
        self.enter()
        settings = self.target.settings
        delay_ns = settings["latency_ns"], settings["jitter_ns"]
        took_ns = min(self._handshake_ns() for _ in range(_TRIES))
        if took_ns >= self._least_ns():
            raise EnvironmentFailure(
                f"a handshake takes {took_ns / NS_PER_MS:.3f} ms here anyway: nobody could see that packets are delayed"
            )
        self._run(netem.laid(self.device(), self.wire(), self.direction, *delay_ns))

    def _has_bitten(self) -> bool:
        self.took_ns = self._handshake_ns()
        return self.took_ns >= self._least_ns() and netem.delayed(self._shown())[0] > 0

    def _is_free(self) -> bool:
        return not netem.is_laid(self._shown()) and self._handshake_ns() < self._least_ns()

    def _least_ns(self) -> int:
        settings = self.target.settings
        return netem.least_ns(self.direction, settings["latency_ns"], settings["jitter_ns"])

    def _run(self, commands: Iterable[Sequence[str]]) -> None:
        for command in commands:
            self.space.run(command)

    def _shown(self) -> str:
        return self.space.run(netem.SHOW)

    def _handshake_ns(self) -> int:
        """Of a connection of the link's: from the node to where Redis is, or from who loads the node to its port."""
        wire = self.wire()
        if self.link == REDIS:
            places = [one.remote for one in seen_from(self.space) if wire.has(one)]
            if not places:
                raise EnvironmentFailure(f"{self.target.unit} has no connection to Redis that could be delayed")
            return self.space.handshake_ns(*places[0])
        peer = next(self.peers(), None)
        if peer is None or wire.port is None:
            raise EnvironmentFailure(f"there is nobody whose connections to {self.target.unit} could be delayed")
        return peer.handshake_ns(wire.node, wire.port)
