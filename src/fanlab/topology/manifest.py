"""`nodes/<kind>/node.yaml`: how a node is started, what it is told and how it is asked whether it is ready."""

import sys
from pathlib import Path
from typing import Annotated, Any, Final, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fanlab.clock import NS_PER_S
from fanlab.errors import Problem, ScenarioError
from fanlab.resources import node_folders
from fanlab.scenario.model import DurationNs, Name

PYTHON: Final = "{python}"  # in argv: the interpreter that fanlab runs on
MAX_FILE_BYTES: Final = 64_000

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]
UrlPath = Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=512)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Process(_Part):
    """How a process of this kind is started; its working directory is the manifest's folder."""

    argv: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


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


class NodeManifest(_Part):
    """One node.yaml."""

    kind: Name
    description: str = Field("", max_length=2000)
    process: Process
    environment: Environment
    websocket: UrlPath
    ready: Ready
    live: UrlPath | None = None
    protocol: Name

    def argv(self) -> list[str]:
        """The command line, `{python}` filled in."""
        return [sys.executable if part == PYTHON else part for part in self.process.argv]


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key given twice, which plain YAML takes in silence, and aliases, which a manifest has no use for."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not allowed here", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
            if isinstance(key.value, str):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def node_folder(kind: str) -> Path:
    """The folder of a node kind. Raises ScenarioError, with those on offer, if there is none."""
    folders = node_folders()
    if kind not in folders:
        known = ", ".join(sorted(folders)) or "none"
        raise ScenarioError(
            [_problem("topology", f"there is no node kind {kind!r}: no nodes/{kind}/node.yaml ({known})")]
        )
    return folders[kind]


def read_manifest(folder: Path) -> NodeManifest:
    """The node.yaml in `folder`, validated. Raises ScenarioError with every problem in it."""
    file = folder / "node.yaml"
    name = str(file)
    try:
        text = file.read_bytes()
        if len(text) > MAX_FILE_BYTES:
            raise ScenarioError([_problem(name, f"it is larger than {MAX_FILE_BYTES} bytes")])
        data = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ScenarioError([_problem(name, f"it cannot be read: {error.strerror}")]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise ScenarioError([Problem(name, line, column, "", error.problem or "no YAML")]) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ScenarioError([_problem(name, f"it is no YAML: {error}")]) from error
    if not isinstance(data, dict):
        raise ScenarioError([_problem(name, "it holds no mapping; see nodes/PROTOCOL.md for its shape")])
    try:
        manifest = NodeManifest.model_validate(data)
    except ValidationError as error:
        raise ScenarioError(
            [Problem(name, 0, 0, ".".join(map(str, item["loc"])), item["msg"]) for item in error.errors()]
        ) from error
    if manifest.kind != folder.name:
        raise ScenarioError([Problem(name, 0, 0, "kind", f"is {manifest.kind!r}, its folder {folder.name!r}")])
    return manifest


def _problem(file: str, what: str) -> Problem:
    return Problem(file, 0, 0, "", what)
