"""A scenario's system as a Docker Compose file, with Locust, its web UI and workers: for people who work by hand.

`render` is pure, and byte for byte the same for the same scenario; `look_up` finds what images are built of. Containers
have as few rights as those of a run (`containerspec`). Nothing is broken there and nothing accounted for.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import fanlab
from fanlab.clock import NS_PER_S
from fanlab.resources import folder
from fanlab.scenario.check import planned_messages
from fanlab.scenario.model import ConstantRate, Scenario
from fanlab.scenario.plan import NodeSpec, Plan
from fanlab.scenario.shape import with_unit
from fanlab.topology import images, redis
from fanlab.topology.composetext import Quoted, anchored, default, dump, escaped, service
from fanlab.topology.containerspec import MAX_PROCESSES, TMPFS
from fanlab.topology.manifest import PYTHON, ContainerBuild, NodeManifest, node_folder, read_manifest
from fanlab.topology.ports import HOST
from fanlab.units import format_duration, format_rate

WEB_PORT: Final = 8089
REDIS_PORT: Final = 6379
_REDIS_URL: Final = f"redis://redis:{REDIS_PORT}/0"
_LOCUST: Final = ("locust", "-f", "/loadtests/fanout.py")
_LOCUST_STARTS_NS: Final = 60 * NS_PER_S
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - inside a container; what is published is on 127.0.0.1
_SCRATCH: Final = "/tmp"  # noqa: S108 - inside a container, which has it alone
_DEFAULT_BASE: Final = re.compile(r"(?m)^ARG BASE(?:=(\S+))?$")
_CONTAINED: Final[dict[str, Any]] = {
    "user": Quoted("65532:65532"),
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "read_only": True,
    "tmpfs": [f"{_SCRATCH}:{TMPFS}"],
    "pids_limit": MAX_PROCESSES,
    "init": True,
    "logging": {"driver": "json-file", "options": {"max-size": Quoted("20m"), "max-file": Quoted("2")}},
}
_HEADER: Final = """\
# {name}'s system, to work with by hand: Redis, the nodes, and Locust with its web UI on http://{host}:{port} and as
# many workers as `--scale locust-worker=N` says. fanlab's README shows how.
#
# Made by `fanlab plan {source} --compose`: change the scenario, and make it again.
# Nothing is broken here and nothing accounted for: faults, gates and the account are `fanlab run`'s.
# The environment may name another FANLAB_WEB_PORT, another load (FANLAB_RATE and so on, see loadtests/fanout.py), and
# other images to build from (FANLAB_DOCKER_BASE and so on, see docs/adr/0014-containers.md).
"""
_SIMPLER: Final = """\
#
# The scenario's load is simplified: here every client hears every channel from the start, all publishers are alike, and
# nobody reads caches. Together the publishers send as much as the scenario's do, on average.
"""


@dataclass(frozen=True, slots=True)
class Build:
    """What an image is built of; paths as the file is to name them, `dockerfile` as seen from `context`."""

    context: str
    dockerfile: str
    arguments: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of nodes."""

    manifest: NodeManifest
    container: ContainerBuild
    build: Build


@dataclass(frozen=True, slots=True)
class Sources:
    """All that images are built of, and the folder with the locustfiles."""

    kinds: Mapping[str, Kind]
    redis: Build
    load: Build
    loadtests: str


def look_up(plan: Plan, root: Path) -> Sources:
    """What there is for this plan; paths below `root`, where the file is to lie, are relative to it.

    Raises ScenarioError for a kind that there is not, or that is not made for containers.
    """
    root = root.resolve()
    base, files = images.BASE_VARIABLE, images.DOCKERFILES
    package, locks = Path(fanlab.__file__).resolve().parent, folder("requirements")
    context = Path(os.path.commonpath((package, locks)))
    parts = {
        "LOCK": (locks / "runtime.lock").relative_to(context).as_posix(),
        "PACKAGE": package.relative_to(context).as_posix(),
    }
    return Sources(
        kinds={name: _kind(name, root) for name in {node.kind: None for node in plan.nodes}},
        redis=_build(root, files, files / "redis.Dockerfile", images.REDIS_BASE_VARIABLE, base),
        load=_build(root, context, files / "helpers.Dockerfile", base, parts=parts),
        loadtests=_seen_from(root, folder("loadtests").resolve()),
    )


def render(scenario: Scenario, plan: Plan, sources: Sources, source: str) -> str:
    """The file's text. `source` is how a command line names the scenario.

    Raises ScenarioError or EnvironmentFailure for settings that are not the scenario's to make.
    """
    load = _load(scenario, plan)
    name = f"fanlab-{re.sub('[^a-z0-9_-]+', '-', scenario.name.lower())}"
    header = _HEADER.format(name=scenario.name, host=HOST, port=WEB_PORT, source=" ".join(source.split()))
    shared = [
        header if load.exact else header + _SIMPLER,
        dump({"name": name}),
        anchored("contained", "What every container may do: next to nothing.", _CONTAINED),
        anchored("load", "What Locust's processes have in common.", _locust(load, plan, sources)),
    ]
    services = [service("redis", _redis(scenario, sources.redis), "contained")]
    builders: dict[str, str] = {}  # by kind
    for node in plan.nodes:
        builder = builders.setdefault(node.kind, node.id)
        services.append(service(node.id, _node(node, sources.kinds[node.kind], builder), "contained"))
    services.append(service("locust-master", _master(load, sources.load), "contained", "load"))
    services.append(service("locust-worker", _worker(plan), "contained", "load"))
    return "\n".join([*shared, "services:\n" + "\n".join(services)])


# What there is to build


def _kind(name: str, root: Path) -> Kind:
    where = node_folder(name)
    manifest = read_manifest(where)
    container = manifest.container_build(where)
    bases = images.own_base_variable(name), images.BASE_VARIABLE
    return Kind(manifest, container, _build(root, *images.build_places(where, container), *bases))


def _build(root: Path, context: Path, dockerfile: Path, *bases: str, parts: Mapping[str, str] | None = None) -> Build:
    """`bases` are variables that may name another base image than the Dockerfile; the first that is set decides."""
    arguments = dict(parts or {})
    if found := _DEFAULT_BASE.search(dockerfile.read_text(encoding="utf-8")):
        base = found[1] or ""
        for variable in reversed(bases):
            base = default(variable, base)
        arguments = {"BASE": base, **arguments}
    return Build(_seen_from(root, context), escaped(os.path.relpath(dockerfile, context)), arguments)


def _seen_from(root: Path, path: Path) -> str:
    if path == root:
        return "."
    return escaped(f"./{path.relative_to(root).as_posix()}" if path.is_relative_to(root) else str(path))


# The load


@dataclass(frozen=True, slots=True)
class _Load:
    """What loadtests/fanout.py is told; `exact` where that is the scenario's very load."""

    publishers: int  # per channel
    rate: str
    payload: str
    users: int
    spawn_rate_per_s: float
    exact: bool


def _load(scenario: Scenario, plan: Plan) -> _Load:
    entries = [scenario.publishers[stream.config] for stream in plan.streams]
    per_channel = Counter(entry.channel for entry in entries)
    publishers = -(-len(entries) // len(plan.channels))
    span_ns = scenario.phases.warm_up_ns + scenario.phases.measure_ns
    total_per_s = sum(planned_messages(entry.rate, span_ns) for entry in entries) * NS_PER_S / span_ns
    exact = (
        all(set(group.channels) == set(plan.channels) for group in plan.groups)
        and all(len(group.nodes) == len(plan.nodes) for group in plan.groups)
        and all(group.join_ns is None for group in scenario.clients)
        and all(per_channel[channel] == publishers for channel in plan.channels)
        and all(isinstance(entry.rate, ConstantRate) and entry.objects is None for entry in entries)
        and len({(entry.rate, entry.payload_bytes) for entry in entries}) <= 1
        and not scenario.readers
    )
    rate_per_s = total_per_s / (publishers * len(plan.channels))
    return _Load(
        publishers=publishers,
        rate=with_unit("rate", rate_per_s) if exact else format_rate(rate_per_s),
        payload=with_unit("size", max(entry.payload_bytes for entry in entries)),
        users=sum(group.count for group in plan.groups) + publishers * len(plan.channels),
        spawn_rate_per_s=max((group.spawn_rate_per_s for group in scenario.clients), default=1.0),
        exact=exact,
    )


# Services


def _redis(scenario: Scenario, build: Build) -> dict[str, Any]:
    shared = scenario.topology.redis
    scratch = Path(_SCRATCH)
    argv = redis.server_argv(Path("redis-server"), _EVERYWHERE, REDIS_PORT, scratch, shared.config, protected=False)
    return {
        "build": _built(build),
        "entrypoint": [Quoted(escaped(part)) for part in argv],
        "environment": _environment({}),
        "healthcheck": _health(["CMD", "redis-cli", "ping"], round(redis.READY_TIMEOUT_S * NS_PER_S)),
        **_limits(shared.cpus, shared.memory_bytes),
    }


def _node(node: NodeSpec, kind: Kind, builder: str) -> dict[str, Any]:
    """`builder` is the node that builds the image of this kind; the others use it."""
    manifest, container = kind.manifest, kind.container
    told = manifest.told(
        replace(node, journal=False), host=_EVERYWHERE, port=container.port, redis_url=_REDIS_URL, journal=""
    )
    argv = {} if container.argv is None else {"entrypoint": [Quoted(escaped(part)) for part in container.argv]}
    return {
        **({"build": _built(kind.build)} if node.id == builder else _image_of(builder)),
        **argv,
        "environment": _environment({name: escaped(value) for name, value in told.items()}),
        "ports": [f"{HOST}::{container.port}"],  # any that is free: `docker compose port` tells which
        "healthcheck": _health(_asks(manifest, container.port), manifest.ready.timeout_ns),
        "depends_on": _healthy("redis"),
        **_limits(node.cpus, node.memory_bytes),
    }


def _locust(load: _Load, plan: Plan, sources: Sources) -> dict[str, Any]:
    kinds = [sources.kinds[node.kind] for node in plan.nodes]
    nodes = ",".join(
        f"ws://{node.id}:{kind.container.port}{kind.manifest.websocket}"
        for node, kind in zip(plan.nodes, kinds, strict=True)
    )
    settings = {
        "FANLAB_CHANNELS": ",".join(plan.channels),
        "FANLAB_RATE": load.rate,
        "FANLAB_PAYLOAD": load.payload,
        "FANLAB_PUBLISHERS": str(load.publishers),
    }
    told = {"FANLAB_NODES": escaped(nodes), "FANLAB_REDIS_URL": _REDIS_URL}
    told |= {name: default(name, value) for name, value in settings.items()}
    locustfiles = {"type": "bind", "source": sources.loadtests, "target": "/loadtests", "read_only": True}
    return {"environment": _environment(told), "volumes": [locustfiles]}


def _master(load: _Load, build: Build) -> dict[str, Any]:
    options = ["--master", "--users", str(load.users), "--spawn-rate", f"{load.spawn_rate_per_s:g}"]
    return {
        "build": _built(build),
        "entrypoint": [Quoted(part) for part in (*_LOCUST, *options)],
        "ports": [f"{HOST}:{default('FANLAB_WEB_PORT', str(WEB_PORT))}:{WEB_PORT}"],
        "healthcheck": _health(_python_asks(WEB_PORT, "/"), _LOCUST_STARTS_NS),
    }


def _worker(plan: Plan) -> dict[str, Any]:
    return {
        **_image_of("locust-master"),
        "entrypoint": [Quoted(part) for part in (*_LOCUST, "--worker", "--master-host", "locust-master")],
        "depends_on": _healthy("locust-master", "redis", *(node.id for node in plan.nodes)),
    }


def _built(build: Build) -> dict[str, Any]:
    return {
        "context": build.context,
        "dockerfile": build.dockerfile,
        "args": {name: Quoted(value) for name, value in build.arguments.items()},
        "network": default(images.NETWORK_VARIABLE, "default"),
    }


def _image_of(builder: str) -> dict[str, Any]:
    return {"image": f"${{COMPOSE_PROJECT_NAME}}-{builder}", "pull_policy": "never"}


def _environment(told: Mapping[str, str]) -> dict[str, str]:
    return {name: Quoted(value) for name, value in {"HOME": _SCRATCH, **told}.items()}


def _limits(cpus: float | None, memory_bytes: int | None) -> dict[str, Any]:
    """Memory and swap are equal: no swap beside it."""
    memory = {} if memory_bytes is None else {"mem_limit": memory_bytes, "memswap_limit": memory_bytes}
    return memory if cpus is None else {"cpus": cpus, **memory}


def _healthy(*services: str) -> dict[str, Any]:
    return {each: {"condition": "service_healthy"} for each in services}


def _health(argv: Sequence[str], starts_ns: int) -> dict[str, Any]:
    """Not asked more often than this: each question is a process beside the load."""
    return {
        "test": [Quoted(part) for part in argv],
        "start_period": format_duration(starts_ns),
        "interval": "5s",
        "timeout": "5s",
        "retries": 3,
    }


def _asks(manifest: NodeManifest, port: int) -> list[str]:
    """A command that succeeds once the node is ready, by what its image surely has: what the node itself runs on."""
    program = manifest.process.argv[0]
    if program == PYTHON:
        return _python_asks(port, manifest.ready.path)
    url = escaped(f"http://{HOST}:{port}{manifest.ready.path}")
    if program == "node":
        code = f"fetch({url!r}).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"
        return ["CMD", "node", "-e", code]
    return ["CMD", "wget", "-q", "-O", "/dev/null", url]


def _python_asks(port: int, path: str) -> list[str]:
    """Without what takes a while to import."""
    request = f"GET {escaped(path)} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    code = (
        f"import socket; s = socket.create_connection(({HOST!r}, {port}), 4); s.sendall({request!r});"
        " raise SystemExit(b' 200 ' not in s.recv(64))"
    )
    return ["CMD", "python3", "-ISc", code]
