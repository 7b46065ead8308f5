"""partition, by packets: the kernel drops them. TCP sends them again, later and later, until somebody gives up."""

import asyncio
from dataclasses import dataclass, field

from fanlab.errors import EnvironmentFailure
from fanlab.faults.packets import EASY_S, PacketFault
from fanlab.topology import packetfilter
from fanlab.topology.tcptable import established

_Ends = tuple[tuple[str, int], tuple[str, int]]  # of a connection: here, there


@dataclass(slots=True)
class PacketPartition(PacketFault):
    """Cut a node off from its clients, or from Redis, one way or both, as a network would."""

    at_bite: dict[_Ends, int] = field(default_factory=dict)

    async def inject(self) -> None:
        """All of its rules hold from one instant on."""
        await asyncio.to_thread(self._inject)

    async def has_bitten(self) -> bool:
        """Packets have been dropped, and TCP has noticed; how much had come through by then is noted."""
        await asyncio.sleep(EASY_S)
        return await asyncio.to_thread(self._has_bitten)

    def lacks(self) -> str:
        """Why it has not bitten."""
        return f"nothing was sent between {self.target.unit} and {self.other} that would have been dropped"

    async def heal(self) -> None:
        """Remove them. Raises EnvironmentFailure if something has come through meanwhile: it was no partition then."""
        came = await asyncio.to_thread(self._heal)
        if came:
            raise EnvironmentFailure(f"{came} bytes came through the partition")

    async def has_healed(self) -> bool:
        """Nothing of it is left, nothing waits to be sent again, and the node answers."""
        await asyncio.sleep(EASY_S)
        free = await asyncio.to_thread(self._is_free)
        return free and await self.target.backend.probe(self.target.unit)

    @property
    def chain(self) -> str:
        """Its rules' own."""
        return packetfilter.chain_of(self.target.id)

    def _inject(self) -> None:
        self.enter()
        self.space.run(packetfilter.RESTORE, packetfilter.laid(self.chain, self.wire(), self.direction))

    def _has_bitten(self) -> bool:
        if not self.resent() or not packetfilter.dropped(self.space.run(packetfilter.counters(self.chain))):
            return False
        self.at_bite = self._passed()
        return True

    def _heal(self) -> int:
        now = self._passed()
        self.space.run(packetfilter.RESTORE, packetfilter.lifted(self.chain))
        return sum(max(0, passed - self.at_bite.get(place, 0)) for place, passed in now.items())

    def _is_free(self) -> bool:
        return not self.resent() and not packetfilter.is_laid(self.chain, self.space.run(packetfilter.SHOW))

    def _passed(self) -> dict[_Ends, int]:
        """By connection, the bytes that have come through and cannot come while it holds.

        What is not acknowledged has not come, as far as its sender can know. One way, the other way's bytes still come.
        """
        wire, both = self.wire(), self.direction != "from-node"
        said = established(self.space.run(packetfilter.PASSED))
        return {(one.local, one.remote): one.acked + both * one.received for one in said if wire.has(one)}
