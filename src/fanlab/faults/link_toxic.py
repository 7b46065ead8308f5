"""Faults that are toxics of the link: put on a node's proxy, seen by whom they hit, and taken off to heal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fanlab.errors import HarnessError
from fanlab.faults.fault import Target
from fanlab.link.client import LinkClient
from fanlab.link.state import ProxyState, ToxicState

# The link's streams are toxiproxy's: upstream is away from whoever connected. Clients connect to nodes, nodes to Redis.
BOTH: Final = "both"
STREAMS: Final = {
    ("clients", "to-node"): "upstream",
    ("clients", "from-node"): "downstream",
    ("redis", "to-node"): "downstream",
    ("redis", "from-node"): "upstream",
}


def proxy_name(node: str, link: str) -> str:
    """What the link calls its proxy for one of a node's links: `node-1/redis`."""
    return f"{node}/{link}"


@dataclass(frozen=True, slots=True)
class OneToxic:
    """A toxic to put on: in the link's own words."""

    type: str
    stream: str
    attributes: dict[str, Any]


@dataclass(slots=True)
class LinkToxic:
    """Base of such faults: a subclass says which toxics."""

    target: Target

    def toxics(self) -> Sequence[OneToxic]:
        """Those that make the fault."""
        raise NotImplementedError

    @property
    def link(self) -> str:
        """Which of the node's links: `clients` or `redis`."""
        return str(self.target.settings.get("link", "clients"))

    @property
    def proxy(self) -> str:
        """That link's proxy."""
        return proxy_name(self.target.unit, self.link)

    def stream(self) -> str:
        """The way that the fault's direction names. `both` is one toxic: it hits the same connections each way."""
        direction = str(self.target.settings["direction"])
        return direction if direction == BOTH else STREAMS[self.link, direction]

    async def inject(self) -> None:
        """Put them on. They hold, for the connections that they hit, when the link has answered."""
        for number, toxic in enumerate(self.toxics()):
            await self.control().add(
                self.proxy,
                self._name(number),
                toxic.type,
                stream=toxic.stream,
                toxicity=float(self.target.settings["share"]),
                attributes=toxic.attributes,
            )

    async def has_bitten(self) -> bool:
        """Something came through each of them late, or in pieces: where nothing is sent, nothing is wrong."""
        held = await self._all_hold()
        return bool(held) and all(toxic.touched for toxic in held)

    def lacks(self) -> str:
        """Why it has not bitten."""
        return f"nothing was sent over {self.proxy} that it could have touched"

    async def heal(self) -> None:
        """Take them off."""
        for number in range(len(self.toxics())):
            await self.control().remove(self.proxy, self._name(number))

    async def has_healed(self) -> bool:
        """None of them is left, what they held has come through, and the node answers."""
        now = await self.state()
        free = not self._held(now) and not now.up.held and not now.down.held
        return free and await self.target.backend.probe(self.target.unit)

    async def _all_hold(self) -> list[ToxicState]:
        """They, if every one of them has hold of a connection; else none."""
        held = self._held(await self.state())
        return held if len(held) == len(self.toxics()) and all(toxic.hit for toxic in held) else []

    async def state(self) -> ProxyState:
        """The proxy, as the link tells it."""
        return (await self.control().state())[self.proxy]

    def control(self) -> LinkClient:
        """The link's controls. Raises HarnessError where the run laid none."""
        if self.target.means.link is None:
            raise HarnessError(f"no link was laid for {self.proxy}")
        return self.target.means.link

    def _held(self, state: ProxyState) -> list[ToxicState]:
        names = {self._name(number) for number in range(len(self.toxics()))}
        return [toxic for toxic in state.toxics if toxic.name in names]

    def _name(self, number: int) -> str:
        return f"fault-{self.target.id}-{number}"
