"""Images, built once and found again by what they are made of.

An image's tag is a hash over its build context, Dockerfile included, and its build arguments: a changed file is
another image, and an unchanged one is not built again, by no run on this engine. (A base image that changes under its
name is not noticed: name bases by version.) The context is packed the same way everywhere: by name, without times or
owners.
"""

import asyncio
import hashlib
import io
import json
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from docker.errors import DockerException
from docker.utils.build import exclude_paths
from requests import RequestException

import fanlab
from fanlab.errors import EnvironmentFailure, NodeFailure, Problem, ScenarioError
from fanlab.resources import folder, kind_of
from fanlab.topology.engine import Engine
from fanlab.topology.manifest import ContainerBuild
from fanlab.units import format_bytes

BASE_VARIABLE: Final = "FANLAB_DOCKER_BASE"
REDIS_BASE_VARIABLE: Final = "FANLAB_DOCKER_REDIS_BASE"
NETWORK_VARIABLE: Final = "FANLAB_DOCKER_BUILD_NETWORK"
DOCKERFILE: Final = ".fanlab.Dockerfile"  # in the context, where a node's own may lie elsewhere
MAX_CONTEXT_BYTES: Final = 256 * 1024 * 1024
LABEL: Final = "fanlab.image"
_TAG_CHARS: Final = 16
_HELPERS_NEED: Final = (".py", ".c", ".so")  # fanlab's code, with the compiled half of receiving where it was made
_TAIL_LINES: Final = 20
_NEVER: Final = ("**/__pycache__", "**/*.pyc", "**/.git")
DOCKERFILES: Final = Path(__file__).resolve().parent / "dockerfiles"


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that an image is made of."""

    name: str
    context: bytes  # a tar
    arguments: Mapping[str, str]
    base_variable: str = BASE_VARIABLE  # names its base, before any that is for several

    @property
    def tag(self) -> str:
        """`fanlab-redis:0a1b2c3d4e5f6071`."""
        digest = hashlib.sha256(self.context)
        digest.update(json.dumps(dict(self.arguments), sort_keys=True).encode())
        return f"{self.name}:{digest.hexdigest()[:_TAG_CHARS]}"


def redis_recipe(environ: Mapping[str, str] = os.environ) -> Recipe:
    """The image of a run's Redis."""
    packed, variable = pack({}, DOCKERFILES / "redis.Dockerfile"), REDIS_BASE_VARIABLE
    return Recipe("fanlab-redis", packed, _base(environ, variable), variable)


def helpers_recipe(environ: Mapping[str, str] = os.environ) -> Recipe:
    """The image of the load's processes and the witness: this very fanlab, with the versions of its lock file."""
    package = Path(fanlab.__file__).resolve().parent
    files = {
        f"fanlab/{path.relative_to(package).as_posix()}": path
        for path in package.rglob("*")
        if path.suffix in _HELPERS_NEED and "_bundled" not in path.parts
    }
    files["runtime.lock"] = folder("requirements") / "runtime.lock"
    return Recipe("fanlab-helpers", pack(files, DOCKERFILES / "helpers.Dockerfile"), _base(environ))


def node_recipe(folder: Path, build: ContainerBuild, environ: Mapping[str, str] = os.environ) -> Recipe:
    """The image of a node kind. Raises ScenarioError where its context or Dockerfile cannot be used."""
    context, dockerfile = build_places(folder, build)
    files = dict(_context_files(context))
    size = sum(path.lstat().st_size for path in files.values())
    if size > MAX_CONTEXT_BYTES:
        what = f"{context} holds {format_bytes(size)}, more than {format_bytes(MAX_CONTEXT_BYTES)}: add a .dockerignore"
        raise _unusable(folder, "container.context", what)
    variable = own_base_variable(kind_of(folder))
    return Recipe("fanlab-node", pack(files, dockerfile), _base(environ, variable), variable)


def build_places(folder: Path, build: ContainerBuild) -> tuple[Path, Path]:
    """The context and the Dockerfile of a node kind. Raises ScenarioError where there is none."""
    context, dockerfile = (folder / build.context).resolve(), (folder / build.dockerfile).resolve()
    if not dockerfile.is_file():
        raise _unusable(folder, "container.dockerfile", f"there is no file {dockerfile}")
    if not context.is_dir():
        raise _unusable(folder, "container.context", f"there is no folder {context}")
    return context, dockerfile


def own_base_variable(kind: str) -> str:
    """The variable that names the base image of one node kind alone: FANLAB_DOCKER_BASE_WS_NODE."""
    return f"{BASE_VARIABLE}_{re.sub('[^A-Z0-9]+', '_', kind.upper())}"


def pack(files: Mapping[str, Path], dockerfile: Path) -> bytes:
    """A build context as a tar that depends on names, contents, links and execute bits alone."""
    buffer = io.BytesIO()
    with tarfile.open(mode="w", fileobj=buffer, format=tarfile.PAX_FORMAT) as tar:
        for name, path in sorted({**files, DOCKERFILE: dockerfile}.items()):
            entry = tarfile.TarInfo(name)
            if path.is_symlink():
                entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
                tar.addfile(entry)
                continue
            data = path.read_bytes()
            entry.size = len(data)
            entry.mode = 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def build(api: Any, recipe: Recipe, log: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The image's tag, once the engine has it; what a build says goes to `log`.

    Raises NodeFailure with the last lines if it cannot be built, and EnvironmentFailure if the engine goes away.
    """
    if api.images(name=recipe.tag):
        return recipe.tag
    said: list[str] = []
    try:
        with log.open("a", encoding="utf-8") as file:
            for text in _building(api, recipe, environ):
                file.write(text)
                file.flush()
                said = [*said, *text.splitlines()][-_TAIL_LINES:]
    except _BuildError as error:
        tail = [line for line in said if line.strip()]
        raise NodeFailure(
            f"the image {recipe.name} cannot be built; see {log}", log_tail=tail, hint=_hint(recipe)
        ) from error
    except OSError as error:
        if isinstance(error, RequestException):  # which is an OSError, too
            raise
        raise EnvironmentFailure(f"{log} cannot be written: {error.strerror}") from error
    return recipe.tag


def unused(api: Any) -> list[str]:
    """The tags of images that fanlab has built, and that no container has, running or not."""
    in_use = {each["ImageID"] for each in api.containers(all=True)}
    built = [each for each in api.images(filters={"label": LABEL}) if each["Id"] not in in_use]
    return sorted(tag for each in built for tag in each["RepoTags"] or () if tag.startswith("fanlab-"))


class ImageStore:
    """The images of one run: each built once, however many ask for it. Belongs to one event loop."""

    def __init__(self, engine: Engine, logs: Path) -> None:
        self._engine = engine
        self._logs = logs
        self._building: dict[str, asyncio.Future[str]] = {}

    async def tag_of(self, recipe: Recipe) -> str:
        """The image's tag, once it is there. One that cannot be built fails all who wait for it, as `build` says."""
        if recipe.tag not in self._building:
            log = self._logs / f"image-{recipe.name}.log"
            call = self._engine.ask(
                f"build the image {recipe.name}", lambda api: build(api, recipe, log), makes_nothing=True
            )
            self._building[recipe.tag] = asyncio.ensure_future(call)
        return await asyncio.shield(self._building[recipe.tag])

    async def declared_volumes(self, tag: str) -> frozenset[str]:
        """The folders that an image wants to be volumes."""
        image = await self._engine.ask(f"look at the image {tag}", lambda api: api.inspect_image(tag))
        return frozenset((image["Config"] or {}).get("Volumes") or ())

    def used(self) -> list[str]:
        """The tags of those that are there."""
        done = [(tag, each) for tag, each in self._building.items() if each.done() and not each.cancelled()]
        return sorted(tag for tag, each in done if each.exception() is None)


class _BuildError(Exception):
    """A step failed; what the engine says of it has been told."""


def _building(api: Any, recipe: Recipe, environ: Mapping[str, str]) -> Iterator[str]:
    """What the build says. An engine removes what it has begun when nobody listens any more."""
    yield f"--- fanlab builds {recipe.tag} {json.dumps(dict(recipe.arguments))}\n"
    try:
        stream = api.build(
            fileobj=io.BytesIO(recipe.context),
            custom_context=True,
            dockerfile=DOCKERFILE,
            tag=recipe.tag,
            buildargs=dict(recipe.arguments),
            network_mode=environ.get(NETWORK_VARIABLE) or None,
            labels={LABEL: recipe.name},
            rm=True,
            forcerm=True,
            decode=True,
        )
        for part in stream:
            if "error" in part:
                yield f"{part['error']}\n"
                raise _BuildError
            yield part.get("stream") or ""
    except DockerException as error:
        yield f"{error}\n"
        raise _BuildError from error


def _context_files(context: Path) -> Iterator[tuple[str, Path]]:
    ignored = context / ".dockerignore"
    lines = ignored.read_text(encoding="utf-8").splitlines() if ignored.is_file() else []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for name in exclude_paths(str(context), [*patterns, *_NEVER]):
        path = context / name
        if path.is_symlink() or path.is_file():  # folders come with what is in them
            yield Path(name).as_posix(), path


def _hint(recipe: Recipe) -> str:
    own = "" if recipe.base_variable == BASE_VARIABLE else f"{recipe.base_variable}, or for all images "
    return (
        f"the whole output is in the file named above; {own}{BASE_VARIABLE} names another base image, and"
        f" {NETWORK_VARIABLE}=host builds on this machine's network"
    )


def _base(environ: Mapping[str, str], *before: str) -> dict[str, str]:
    """BASE as the environment has it, else none: then the Dockerfile's own holds."""
    for variable in (*before, BASE_VARIABLE):
        if named := environ.get(variable):
            return {"BASE": named}
    return {}


def _unusable(folder: Path, path: str, what: str) -> ScenarioError:
    return ScenarioError([Problem(str(folder / "node.yaml"), 0, 0, path, what)])
