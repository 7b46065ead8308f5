"""`nodes/<kind>/node.yaml`: how a node is started, what it is told and how it is asked whether it is ready."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fanlab.clock import NS_PER_S
from fanlab.errors import Problem, ScenarioError
from fanlab.redaction import secrets_of_text, secrets_of_words
from fanlab.resources import kind_of, node_folders, on_offer
from fanlab.scenario.document import Listing, Node, Table, parse, plain
from fanlab.scenario.plan import NodeSpec
from fanlab.scenario.values import DurationNs, KindName, Name
from fanlab.topology.warden import OWNER_VARIABLE, RUN_VARIABLE

PYTHON: Final = "{python}"  # in argv: the interpreter that fanlab runs on
MAX_FILE_BYTES: Final = 64_000

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
CachePath = Annotated[str, Field(pattern=r"^/[!-~]*\{key\}[!-~]*$", max_length=512)]
UrlPath = Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=512)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Process(_Part):
    """How a process of this kind is started; its working directory is the manifest's folder."""

    argv: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class ContainerBuild(_Part):
    """How a container of this kind is made; paths are relative to the manifest's folder."""

    dockerfile: Annotated[str, Field(min_length=1, max_length=512)] = "Dockerfile"
    context: Annotated[str, Field(min_length=1, max_length=512)] = "."
    argv: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] | None = None  # the image's
    port: Annotated[int, Field(strict=True, ge=1024, le=65_535)] = 8765  # below 1024 it would take a privilege


class Environment(_Part):
    """Names of the variables by which a node is told where it listens and whom it talks to."""

    host: Variable
    port: Variable
    redis_url: Variable
    id: Variable
    journal: Variable | None = None  # None: a black box, measured with fewer hops

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [name for name in self.model_dump().values() if name is not None]
        if len(set(names)) < len(names):
            raise ValueError("two of these name the same variable")
        return self


class Ready(_Part):
    """A URL path that answers 200 as soon as, and only while, the node can serve clients."""

    path: UrlPath
    timeout_ns: DurationNs = Field(15 * NS_PER_S, alias="timeout")


class Install(_Part):
    """How what the process needs is installed, in the manifest's folder. A person does it: fanlab only says so."""

    argv: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class NodeManifest(_Part):
    """One node.yaml."""

    kind: KindName
    description: str = Field("", max_length=2000)
    process: Process
    container: ContainerBuild | None = None  # None: as by default, where there is a Dockerfile
    environment: Environment
    websocket: UrlPath
    ready: Ready
    live: UrlPath | None = None
    cache: CachePath | None = None  # GET of it, {key} replaced, answers with what the node's cache holds under a key
    install: Install | None = None
    protocol: Name

    def install_argv(self) -> list[str] | None:
        """The command line that installs what the process needs; None: the manifest names none."""
        if self.install is None:
            return None
        return [sys.executable if part == PYTHON else part for part in self.install.argv]

    def argv(self) -> list[str]:
        """The command line, `{python}` filled in."""
        return [sys.executable if part == PYTHON else part for part in self.process.argv]

    def container_build(self, folder: Path) -> ContainerBuild:
        """How a container is made of the kind in `folder`. Raises ScenarioError where that is not said."""
        if self.container is not None:
            return self.container
        if (folder / ContainerBuild().dockerfile).is_file():
            return ContainerBuild()
        what = "this kind has neither a Dockerfile nor a `container` part; without --backend docker it needs none"
        raise ScenarioError([Problem(str(folder / "node.yaml"), 0, 0, "container", what)])

    def told(self, node: NodeSpec, *, host: str, port: int, redis_url: str, journal: str) -> dict[str, str]:
        """What the node is told by its environment: the scenario's settings, and fanlab's own variables.

        `journal` is told if the node is to keep one and can. Raises ScenarioError where the scenario sets one of ours.
        """
        names = self.environment
        told = {names.host: host, names.port: str(port), names.redis_url: redis_url, names.id: node.id}
        if node.journal and names.journal is not None:
            told[names.journal] = journal
        if clash := sorted({*told, RUN_VARIABLE, OWNER_VARIABLE} & node.env.keys()):
            raise ScenarioError(
                [Problem("scenario", 0, 0, f"topology.nodes.env.{name}", "fanlab sets this variable") for name in clash]
            )
        return {**node.env, **told}

    def secrets(self) -> Iterator[str]:
        """Those in its command line and in the parameters of its paths."""
        yield from secrets_of_words(self.process.argv)
        for path in filter(None, (self.websocket, self.ready.path, self.live, self.cache)):
            yield from secrets_of_text(path)


_PLAINLY: Final = {
    "missing": "missing; it must be given (nodes/PROTOCOL.md says what it is for)",
    "extra_forbidden": "unknown key (nodes/PROTOCOL.md has those there are)",
}


def node_folder(kind: str) -> Path:
    """The folder of a node kind. Raises ScenarioError, with those on offer, if there is none."""
    folders = node_folders()
    if kind not in folders:
        known = on_offer(folders) or "none"
        raise ScenarioError([Problem(f"nodes/{kind}/node.yaml", 0, 0, "", f"no such node kind; on offer: {known}")])
    return folders[kind]


def read_manifest(folder: Path) -> NodeManifest:
    """The node.yaml in `folder`, validated. Raises ScenarioError with every problem in it, each with its place."""
    file = folder / "node.yaml"
    document = parse(_read(file), str(file))
    try:
        manifest = NodeManifest.model_validate(plain(document.root))
    except ValidationError as error:
        found = [
            _problem(document.root, item["loc"], _PLAINLY.get(item["type"], item["msg"])) for item in error.errors()
        ]
        raise ScenarioError([*document.problems, *found]) from error
    if document.problems:
        raise ScenarioError(document.problems)
    if manifest.kind != (kind := kind_of(folder)):
        raise ScenarioError([_problem(document.root, ("kind",), f"it must be its folder's name, {kind!r}")])
    return manifest


def _read(file: Path) -> str:
    """The file's text. Raises ScenarioError if there is none."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise ScenarioError([Problem(str(file), 0, 0, "", f"it cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ScenarioError([Problem(str(file), 0, 0, "", f"it is not UTF-8 text: {error.reason}")]) from error
    if len(data) > MAX_FILE_BYTES:
        raise ScenarioError([Problem(str(file), 0, 0, "", f"it is larger than {MAX_FILE_BYTES} bytes")])
    if not text.strip():
        raise ScenarioError([Problem(str(file), 0, 0, "", "it is empty; nodes/PROTOCOL.md shows what belongs in it")])
    return text


def _problem(root: Node, path: tuple[str | int, ...], what: str) -> Problem:
    """A problem at the value that `path` leads to, or, where there is none, at the last one on the way."""
    node, place = root, root.place
    for part in path:
        if isinstance(node, Table) and part in node.entries:
            entry = node.entries[str(part)]
            node, place = entry.node, entry.place
        elif isinstance(node, Listing) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            place = node.place
        else:
            break
    return Problem(place.source, place.line, place.column, ".".join(map(str, path)), what.removeprefix("Value error, "))
