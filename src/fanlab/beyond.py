"""What of a run is not on this machine, or not started by it: a system that runs already, workers on other hosts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fanlab.load.caps import Caps
from fanlab.load.invitation import Invitation
from fanlab.redaction import secrets_of_url
from fanlab.topology import asking, redis
from fanlab.topology.ports import HOST
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

    def secrets(self) -> Iterator[str]:
        """All of them: the targets', and the token."""
        yield from self.secrets_of_targets()
        if self.invitation is not None:
            yield self.invitation.token

    def secrets_of_targets(self) -> Iterator[str]:
        """What may be secret in their URLs."""
        targets = self.targets or Targets()
        urls = [targets.redis, *(url for node in targets.nodes for url in (node.ws, node.http))]
        for url in filter(None, urls):
            yield from secrets_of_url(url)

    async def places(self, redis_url: str | None, reach: Reach) -> list[Place]:
        """Where all that is loaded and was not started by fanlab is. Raises EnvironmentFailure for what may not be."""
        found = []
        for node in self.targets.nodes if self.targets else ():
            where = f"--node {node.id}"
            refuse_user(node.ws, where)
            found.append(await reach.place(node.ws, where, ("ws", "wss"), _port(node.ws)))
            if node.http is not None:
                found.append(await reach.place(node.http, f"{where}, its `http`", ("http",), _port(node.http)))
        url = self.targets.redis if self.targets else redis_url
        if url is not None:
            found.append(await reach.place(url, "--redis-url", ("redis", "rediss"), redis.PORT))
        return found


def elsewhere(places: Sequence[Place]) -> list[str]:
    """The hosts among them that are other machines."""
    return list(dict.fromkeys(place.host for place in places if place.elsewhere))


def _port(url: str) -> int:
    return asking.PORTS.get(url.partition(":")[0], 0)
