"""A system that runs already, as it is told: `--node node-1=ws://host:port/ws …`, or all in a file (--targets)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fanlab.errors import Problem, ScenarioError
from fanlab.scenario.document import parse, plain
from fanlab.scenario.plan import NodeSpec
from fanlab.scenario.problems import from_error
from fanlab.scenario.shape import record
from fanlab.scenario.values import Name

MAX_FILE_BYTES: Final = 256_000

_URL: Final = re.compile(r'[a-z]+://[!"$-~]+$')
_PATH: Final = re.compile(r"/[!-~]*$")


def _url(text: str) -> str:
    if not _URL.match(text):
        raise ValueError("no URL; write it as ws://host:port/path, http://host:port or redis://host:port/0")
    return text


def _path(text: str) -> str:
    if not _PATH.match(text):
        raise ValueError("no path; it begins with / and follows `http`")
    return text


def _cache_path(text: str) -> str:
    if "{key}" not in _path(text):
        raise ValueError("no path of a cache; {key} must be in it, as /cache/{key}")
    return text


Url = Annotated[str, Field(max_length=2048), AfterValidator(_url)]
UrlPath = Annotated[str, Field(max_length=512), AfterValidator(_path)]
CachePath = Annotated[str, Field(max_length=512), AfterValidator(_cache_path)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TargetNode(_Part):
    """One node that runs. What is left out is as in the node.yaml of its kind."""

    id: Name = Field(description="The node's name in the plan: node-1, node-2 …")
    ws: Url = Field(description="Where clients connect: ws:// or wss://.")
    http: Url | None = Field(None, description="Where its HTTP side listens, if it has one: http://host:port.")
    protocol: Name | None = Field(None, description="The client protocol that it speaks.")
    ready: UrlPath | None = Field(None, description="A path under `http` that answers 200 while it can serve.")
    cache: CachePath | None = Field(None, description="A path under `http` that answers with a cache's entry.")
    journal: str | None = Field(None, max_length=4096, description="Its journal's file on this machine.")

    @model_validator(mode="after")
    def _has_http(self) -> Self:
        for name in ("ready", "cache"):
            if getattr(self, name) is not None and self.http is None:
                raise ValueError(f"`{name}` is a path under `http`, which is not given")
        return self


class Targets(_Part):
    """All of a system: its nodes by the names of the plan, and its Redis."""

    nodes: list[TargetNode] = Field(default_factory=list, max_length=1000, description="Its nodes.")
    redis: Url | None = Field(None, description="Its Redis: redis://host:port/0.")

    def of(self, node: NodeSpec) -> TargetNode:
        """The node of that name; `matched` comes first."""
        return next(target for target in self.nodes if target.id == node.id)


def told(nodes: Sequence[str], file: Path | None, redis_url: str | None) -> Targets:
    """What the options say; --redis-url goes before the file. Raises ScenarioError with all that is wrong."""
    given = Targets() if file is None else read_targets(file)
    both = [*given.nodes, *map(_node, nodes)]
    ids = [node.id for node in both]
    if doubled := sorted({name for name in ids if ids.count(name) > 1}):
        raise _wrong("--node", f"{', '.join(doubled)} is given more than once")
    if redis_url is not None and given.redis is not None:
        raise _wrong("--redis-url", f"{file} names a Redis, too: leave one of them out")
    try:
        return Targets(nodes=both, redis=redis_url or given.redis)
    except ValidationError:  # which would quote a part of a password
        what = "no URL; write it as redis://host:port/0, and percent-encode what is special in its password"
        raise _wrong("--redis-url", what) from None


def _node(word: str) -> TargetNode:
    name, equals, url = word.partition("=")
    try:
        if equals:
            return TargetNode(id=name, ws=url)
    except ValidationError as error:
        where = " and ".join("name" if one["loc"][0] == "id" else "URL" for one in error.errors())
        raise _wrong("--node", f"{name[:60]!r}: its {where} is none; write it as node-1=ws://host:port/ws") from None
    raise _wrong("--node", "write it as node-1=ws://host:port/ws")


def read_targets(file: Path) -> Targets:
    """A file of targets. Raises ScenarioError with every problem in it, each with its place."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise _wrong(str(file), f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _wrong(str(file), f"it is not UTF-8 text: {error.reason}") from error
    if len(data) > MAX_FILE_BYTES:
        raise _wrong(str(file), f"it is larger than {MAX_FILE_BYTES} bytes")
    document = parse(text, str(file))
    try:
        targets = Targets.model_validate(plain(document.root))
    except ValidationError as error:
        shape = record(Targets)
        found = [from_error(one, document.root, shape) for one in error.errors(include_url=False)]
        raise ScenarioError([*document.problems, *(problem for problem in found if problem is not None)]) from error
    if document.problems:
        raise ScenarioError(document.problems)
    return targets


def matched(targets: Targets, nodes: Sequence[NodeSpec]) -> None:
    """Raises ScenarioError unless there is one target for each node of the plan, and a Redis."""
    problems = []
    wanted, given = [node.id for node in nodes], [node.id for node in targets.nodes]
    if missing := [name for name in wanted if name not in given]:
        words = " ".join(f"--node {name}=ws://host:port/ws" for name in missing)
        problems.append(
            f"the scenario has {len(wanted)} nodes, and {len(given)} are given: name the rest with {words}, or run with"
            f" fewer: --set topology.nodes.count={max(1, len(given))}"
        )
    if unknown := [name for name in given if name not in wanted]:
        problems.append(
            f"{', '.join(unknown)}: the scenario has {wanted[0]} to {wanted[-1]}; call the nodes so, or run with more:"
            f" --set topology.nodes.count={len(given)}"
        )
    found = [Problem("--node", 0, 0, "", what) for what in problems]
    if targets.redis is None:
        what = "the nodes' Redis must be named, too: the publishers publish there, as redis://host:port/0"
        found.append(Problem("--redis-url", 0, 0, "", what))
    if found:
        raise ScenarioError(found)


def refuse_user(url: str, option: str) -> None:
    """Raises ScenarioError for a URL with a user's name or password, which nobody would send."""
    if "@" in urlsplit(url).netloc:
        raise _wrong(
            option, "a user's name in a WebSocket's URL is not sent; what the server asks for goes in the query"
        )


def _wrong(option: str, what: str) -> ScenarioError:
    return ScenarioError([Problem(option, 0, 0, "", what)])
