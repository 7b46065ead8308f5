"""The external backend: nodes and a Redis that run already, driven from their URLs. fanlab starts its own load only.

What runs is not fanlab's to touch: it is asked whether it serves, loaded, and left as it was. Its nodes are black boxes
unless a journal's file is named.
"""

import asyncio
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fanlab.clock import NS_PER_S, now_ns
from fanlab.errors import EnvironmentFailure, NodeFailure, Problem, ScenarioError
from fanlab.rundir import RunDir
from fanlab.scenario.plan import NodeSpec
from fanlab.topology import asking, redis
from fanlab.topology.asking import Question
from fanlab.topology.backend import NO_LIMITS, REDIS, Limits, Need, NodeEndpoint, RedisEndpoint, UnitState
from fanlab.topology.labels import Marks
from fanlab.topology.manifest import node_folder, read_manifest
from fanlab.topology.ports import HOST
from fanlab.topology.processes import ProcessBackend
from fanlab.topology.reach import Place, Reach, is_ours
from fanlab.topology.redis import redact
from fanlab.topology.targets import TargetNode, Targets

READY_WITHIN_S: Final = 10.0
POLL_S: Final = 0.2
_NOT_OURS: Final = "it runs already and was not started by fanlab, which can break things by Redis' commands only"


class ExternalBackend:
    """Backend on a system that runs. `targets` has a node for each of the plan, and a Redis (`targets.matched`)."""

    name = "external"
    python = sys.executable
    bind_host = HOST

    def __init__(self, rundir: RunDir, targets: Targets, reach: Reach) -> None:
        self._rundir = rundir
        self._targets = targets
        self._reach = reach
        self._helpers = ProcessBackend(rundir)  # for fanlab's own: the load, the witness
        self.lost = self._helpers.lost
        self._redis_url: str | None = None
        self._asked: dict[str, tuple[Question, str]] = {}  # by node: what tells whether it serves, and at which address
        self._journals: dict[str, Path] = {}

    def check_kind(self, kind: str) -> None:
        """Raises ScenarioError for a kind that there is not, or whose node.yaml cannot be used: it says what to ask."""
        read_manifest(node_folder(kind))

    async def open(self) -> None:
        """Start the warden of fanlab's own processes."""
        await self._helpers.open()

    @property
    def marks(self) -> Marks:
        """Those of fanlab's own processes."""
        return self._helpers.marks

    @property
    def warden_pid(self) -> int:
        """The pid of the process that owns fanlab's own."""
        return self._helpers.warden_pid

    async def detach(self) -> None:
        """Leave everything as it is."""
        await self._helpers.detach()

    async def start_redis(self, config: Mapping[str, str], *, limits: Limits = NO_LIMITS) -> RedisEndpoint:
        """See that it answers. Raises EnvironmentFailure if it may not be reached, is silent, or is to be set up."""
        if limits != NO_LIMITS:
            raise EnvironmentFailure(
                "`cpus` and `memory` of redis cannot be applied to a Redis that runs already",
                hint="remove them from the scenario",
            )
        if config:
            raise EnvironmentFailure(
                f"topology.redis.config ({', '.join(config)}) cannot be applied to a Redis that runs already",
                hint="set it there, and remove it from the scenario",
            )
        found = await redis.adopt(self._targets.redis or "", self._reach)
        self._redis_url = found.url
        return RedisEndpoint(found.url, "external", found.version, None, found.url)

    async def start_node(self, node: NodeSpec, *, redis_url: str | None = None) -> NodeEndpoint:
        """See that it serves. A `redis_url` other than its own cannot be told to a node that runs.

        Raises EnvironmentFailure if it may not be reached, NodeFailure if it does not serve.
        """
        if redis_url not in (None, self._redis_url):
            raise EnvironmentFailure(f"{node.id} has its Redis already: nothing can be put between the two")
        if Limits(node.cpus, node.memory_bytes) != NO_LIMITS:
            raise EnvironmentFailure(
                f"`cpus` and `memory` of {node.id} cannot be applied to a node that runs already",
                hint="remove them from the scenario",
            )
        target = self._targets.of(node)
        manifest = read_manifest(node_folder(node.kind))
        where = f"--node {node.id}"
        place = await self._reach.place(target.ws, where, ("ws", "wss"), asking.PORTS[target.ws.partition(":")[0]])
        http = None if target.http is None else await self._http(target, where)
        question = asking.upgrade(place) if http is None else asking.get(http, target.ready or manifest.ready.path)
        self._asked[node.id] = (question, await self._serving(node.id, question))
        address = self._asked[node.id][1] if http is None else await self._serving(node.id, asking.upgrade(place))
        http_url = None if http is None else http.pinned(self._asked[node.id][1]).rstrip("/")
        cache = target.cache or manifest.cache
        if target.journal is not None:
            self._journals[node.id] = _journal(node.id, Path(target.journal), place)
        return NodeEndpoint(
            id=node.id,
            index=node.index,
            ws_url=place.pinned(address),
            http_url=http_url or "",
            protocol=target.protocol or manifest.protocol,
            journals=node.id in self._journals,
            cache_url=f"{http_url}{cache}" if http_url and cache else None,
            ws_server=place.netloc,
            cache_server=None if http is None else http.netloc,
        )

    async def start_helper(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        """Start one of fanlab's own processes; returns its pid."""
        return await self._helpers.start_helper(name, argv, env, log)

    def refusal(self, need: Need) -> str | None:  # noqa: ARG002 - whatever it is
        """All of them need a process that is fanlab's."""
        return _NOT_OURS

    async def prepare(self, unit: str, need: Need) -> None:  # noqa: ARG002 - whatever it is
        """Raises EnvironmentFailure."""
        raise _not_ours(unit)

    def host_of(self, unit: str) -> str:
        """By what address fanlab's own processes reach each other."""
        return self._helpers.host_of(unit)

    def address(self, unit: str) -> str | None:  # noqa: ARG002 - whoever it is
        """None: who is connected to Redis from where is not known."""
        return None

    async def execute(self, unit: str, argv: Sequence[str]) -> int:
        """Run a command beside a helper. Raises EnvironmentFailure for what is not ours."""
        return await self._ours(unit).execute(unit, argv)

    def outside(self, node: NodeEndpoint) -> NodeEndpoint:
        """As it is: it was reached from outside all along."""
        return node

    async def own(self, folder: Path) -> None:
        """Remove this folder when everything has ended."""
        await self._helpers.own(folder)

    def helpers(self) -> dict[str, int]:
        """The running helpers' names and pids."""
        return self._helpers.helpers()

    def gone_ns(self, unit: str) -> int | None:  # noqa: ARG002 - whoever it is
        """None: the warden tells at once."""
        return None

    def state(self, unit: str) -> UnitState:
        """A helper's state. Nodes and Redis are taken to run: `probe` tells."""
        return UnitState.RUNNING if self._is_theirs(unit) else self._helpers.state(unit)

    def pid(self, unit: str) -> int | None:
        """None for what is not ours."""
        return None if self._is_theirs(unit) else self._helpers.pid(unit)

    async def probe(self, unit: str) -> bool:
        """Whether it serves right now."""
        if unit == REDIS:
            return self._redis_url is not None and await redis.answers(self._redis_url)
        if unit in self._asked:
            question, address = self._asked[unit]
            return await question.ask(address) is None
        return await self._helpers.probe(unit)

    def log_tail(self, unit: str, lines: int = 20) -> list[str]:
        """A helper's last log lines."""
        return [] if self._is_theirs(unit) else self._helpers.log_tail(unit, lines)

    async def exited(self, unit: str) -> int:
        """Wait until a helper ends. Raises EnvironmentFailure for what is not ours: nobody is told of its end."""
        return await self._ours(unit).exited(unit)

    async def signal(self, unit: str, signum: int) -> None:
        """Send a signal to a helper."""
        await self._ours(unit).signal(unit, signum)

    async def freeze(self, unit: str) -> None:
        """Stop a helper for a while."""
        await self._ours(unit).freeze(unit)

    async def thaw(self, unit: str) -> None:
        """Let a helper go on."""
        await self._ours(unit).thaw(unit)

    async def restart(self, unit: str) -> None:
        """Start a helper that is gone again."""
        await self._ours(unit).restart(unit)

    async def limit_cpu(self, unit: str, cores: float | None) -> None:  # noqa: ARG002 - no matter how many
        """Raises EnvironmentFailure."""
        raise _not_ours(unit)

    async def cpu_limit(self, unit: str) -> float | None:
        """Raises EnvironmentFailure."""
        raise _not_ours(unit)

    async def limit_memory(self, unit: str, limit_bytes: int | None) -> None:  # noqa: ARG002 - no matter how much
        """Raises EnvironmentFailure."""
        raise _not_ours(unit)

    async def memory_limit(self, unit: str) -> int | None:
        """Raises EnvironmentFailure."""
        raise _not_ours(unit)

    async def memory_kills(self, unit: str) -> int:
        """Raises EnvironmentFailure."""
        raise _not_ours(unit)

    async def step_clock(self, unit: str, offset_ns: int) -> None:  # noqa: ARG002 - no matter how far
        """Raises EnvironmentFailure."""
        raise _not_ours(unit)

    async def wall_clock_s(self, unit: str) -> float | None:
        """Raises EnvironmentFailure."""
        raise _not_ours(unit)

    async def close(self) -> None:
        """End fanlab's own processes, and take copies of the journals that were named."""
        try:
            await self._helpers.close()
        finally:
            journals, self._journals = self._journals, {}
            await asyncio.to_thread(self._fetch, journals)

    def _fetch(self, journals: Mapping[str, Path]) -> None:
        for name, path in journals.items():
            try:
                shutil.copyfile(path, self._rundir.journal / f"{name}.jsonl")
            except OSError as error:
                raise EnvironmentFailure(f"the journal of {name} cannot be copied: {error}") from error

    async def _http(self, target: TargetNode, where: str) -> Place:
        place = await self._reach.place(target.http or "", f"{where}, its `http`", ("http",), asking.PORTS["http"])
        path = place.url.partition("://")[2].partition("/")[2]
        if path:
            raise ScenarioError(
                [Problem(where, 0, 0, "", f"its `http` is a server, as http://{place.netloc}, without /{path}")]
            )
        return place

    async def _serving(self, name: str, question: Question) -> str:
        """The first address that answers yes, of all that the name stands for, again and again for a while."""
        end_ns = now_ns() + round(READY_WITHIN_S * NS_PER_S)
        met: str | None = None
        while True:
            for address in question.place.addresses:
                met = await question.ask(address)
                if met is None:
                    return address
            if now_ns() >= end_ns:
                raise NodeFailure(
                    f"{name} at {redact(question.place.url)} does not serve: {question.what} last met with: {met}",
                    hint="does it run, and does its URL lead there from this machine?",
                )
            await asyncio.sleep(POLL_S)

    def _is_theirs(self, unit: str) -> bool:
        return unit == REDIS or unit in {node.id for node in self._targets.nodes}

    def _ours(self, unit: str) -> ProcessBackend:
        if self._is_theirs(unit):
            raise _not_ours(unit)
        return self._helpers

    def facts(self) -> dict[str, Any]:
        """What the manifest is to say of it, beside its name: who was driven, without secrets."""
        nodes = [
            {"id": node.id, "ws": redact(node.ws), "http": node.http and redact(node.http), "journal": node.journal}
            for node in self._targets.nodes
        ]
        return {"nodes": nodes, "redis": redact(self._targets.redis or "")}


def _journal(name: str, path: Path, place: Place) -> Path:
    """Its file, which must be one whose times are of this machine's clock. Raises EnvironmentFailure."""
    if not all(map(is_ours, place.addresses)):
        raise EnvironmentFailure(
            f"the journal of {name} cannot be used: {place.host} is another machine, whose clock is not this one's",
            hint="leave `journal` out: the node is then measured from outside",
        )
    if not path.is_file():
        raise EnvironmentFailure(f"the journal of {name}, {path}, is no file", hint="name the file that it writes to")
    return path


def _not_ours(unit: str) -> EnvironmentFailure:
    return EnvironmentFailure(f"{unit} is not fanlab's to touch: {_NOT_OURS}")
