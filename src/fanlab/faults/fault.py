"""What a fault is: something done to a unit, a probe that it bit, its undoing, and a probe that it healed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from fanlab.errors import EnvironmentFailure
from fanlab.link.client import LinkClient
from fanlab.rundir import RunDir
from fanlab.topology.backend import Backend, NodeEndpoint, UnitState


@dataclass(frozen=True, slots=True)
class Means:
    """By what means faults act on a run's system: the same for all of them."""

    backend: Backend
    redis_url: str
    link: LinkClient | None = None  # controls of the proxies; None: the run laid none
    nodes: Mapping[str, NodeEndpoint] = field(default_factory=dict)  # as helpers reach them
    channels: Sequence[str] = ()  # of the plan
    rundir: RunDir | None = None
    seed: int = 0
    warn: Callable[[str], None] = lambda _: None  # tells whoever runs it what cannot be undone


@dataclass(frozen=True, slots=True)
class Target:
    """What a fault acts on, and by what means."""

    means: Means
    unit: str
    id: int = 0  # of the planned fault
    for_ns: int | None = None  # how long it is to last; None: to the end
    settings: Mapping[str, Any] = field(default_factory=dict)  # what else the scenario says of the fault

    @property
    def backend(self) -> Backend:
        """Starts, stops and probes units."""
        return self.means.backend

    @property
    def redis_url(self) -> str:
        """Where fanlab's own process reaches Redis."""
        return self.means.redis_url


def refuse_gone(target: Target) -> None:
    """Raises EnvironmentFailure where there is no process that a limit could hold for."""
    if target.backend.state(target.unit) is UnitState.GONE:
        raise EnvironmentFailure(f"{target.unit} has ended already: there is nothing to limit")


class Fault(Protocol):
    """One fault on one target. The injector calls these in this order and stamps the time of each.

    A probe looks at the effect (is the process gone, does Redis still list the connection), never at whether the
    call returned. Both probes are polled, so they must be cheap and free of side effects.
    """

    async def inject(self) -> None:
        """Break it."""

    async def has_bitten(self) -> bool:
        """Whether the effect is there now."""

    async def heal(self) -> None:
        """Undo it; returns at once where it heals by itself."""

    async def has_healed(self) -> bool:
        """Whether the target serves again."""


@runtime_checkable
class Explaining(Protocol):
    """A fault that can say more of why its probe sees no effect."""

    def lacks(self) -> str:
        """What was missing, by the last look."""


@runtime_checkable
class Closing(Protocol):
    """A fault that keeps something open from its injection on, such as a connection that it needs to heal."""

    async def close(self) -> None:
        """Give it up: the fault is over, or the run is."""
