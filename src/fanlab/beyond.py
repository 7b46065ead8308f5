"""What of a run is not on this machine, or not started by it: a system that runs already, workers on other hosts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fanlab.load.caps import Caps
from fanlab.load.invitation import Invitation
from fanlab.rundir import RunDir
from fanlab.topology import asking, redis
from fanlab.topology.backend import Backend
from fanlab.topology.external import ExternalBackend
from fanlab.topology.ports import HOST
from fanlab.topology.processes import ProcessBackend
from fanlab.topology.reach import Place, Reach
from fanlab.topology.targets import Targets, refuse_user


@dataclass(frozen=True, slots=True)
class Beyond:
    """Nothing, by default: all is this machine's."""

    targets: Targets | None = None  # --backend external
    allow: tuple[str, ...] = ()  # --allow-remote
    caps: Caps = field(default_factory=Caps)
    invitation: Invitation | None = None  # --expect-workers
    system_host: str = HOST  # where nodes and Redis listen, of a system that fanlab starts

    def backend(self, rundir: RunDir, redis_url: str | None, reach: Reach) -> Backend:
        """The backend that drives it."""
        if self.targets is not None:
            return ExternalBackend(rundir, self.targets, reach)
        return ProcessBackend(rundir, redis_url=redis_url, reach=reach, host=self.system_host)

    async def places(self, redis_url: str | None, reach: Reach) -> list[Place]:
        """Where all that is loaded and was not started by fanlab is. Raises EnvironmentFailure for what may not be."""
        targets = self.targets or Targets(redis=redis_url)
        found = []
        for node in targets.nodes:
            where = f"--node {node.id}"
            refuse_user(node.ws, where)
            found.append(await reach.place(node.ws, where, ("ws", "wss"), _port(node.ws)))
            if node.http is not None:
                found.append(await reach.place(node.http, f"{where}, its `http`", ("http",), _port(node.http)))
        if targets.redis is not None:
            found.append(await reach.place(targets.redis, "--redis-url", ("redis", "rediss"), redis.PORT))
        return found


def elsewhere(places: Sequence[Place]) -> list[str]:
    """The hosts among them that are other machines."""
    return list(dict.fromkeys(place.host for place in places if place.elsewhere))


def _port(url: str) -> int:
    return asking.PORTS.get(url.partition(":")[0], 0)


def facts(backend: Backend) -> dict[str, Any]:
    """What the manifest says of a system that was not started by fanlab."""
    return backend.facts() if isinstance(backend, ExternalBackend) else {}
