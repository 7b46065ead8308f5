"""What a run has at an engine before its first unit: a warden that removes all in the end, images, and a network."""

import asyncio
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fanlab.errors import EnvironmentFailure
from fanlab.rundir import RunDir
from fanlab.topology import sweeping
from fanlab.topology.addresses import Addresses
from fanlab.topology.containerspec import Attached, ContainerSpec
from fanlab.topology.engine import Engine
from fanlab.topology.images import ImageStore, helpers_recipe
from fanlab.topology.labels import RUN, Marks, Owner
from fanlab.topology.runnetwork import make_network
from fanlab.topology.samemachine import judge, look_from, run_once
from fanlab.topology.sharedfiles import SharedFiles
from fanlab.topology.wardenclient import WardenClient

_NETWORK: Final = "network"
_LOOK: Final = "look"
_MANY_FILES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Site:
    """All of it. `user` is the uid:gid of every container, as it is called inside."""

    engine: Engine
    warden: WardenClient
    marks: Marks
    images: ImageStore
    files: SharedFiles
    addresses: Addresses
    user: str

    async def spec(self, unit: str, image: str, argv: Sequence[str] | None, env: Mapping[str, str]) -> ContainerSpec:
        """What all units have in common."""
        return ContainerSpec(
            image=image,
            user=self.user,
            labels=self.marks.labels(unit),
            argv=None if argv is None else tuple(argv),
            env={**env, **self.marks.env()},
            open_files=open_files(),
            # A volume that an image declares would be made without our label: a scratch folder does as well.
            scratch=await self.images.declared_volumes(image),
            attached=Attached(self.marks.name(_NETWORK), self.addresses.of(unit), unit),
        )

    async def nothing_is_left(self) -> None:
        """Raises EnvironmentFailure, naming it, if the engine has something of the run's."""
        left = await self.engine.ask("list what the run has left", lambda api: sweeping.find(api, self.marks.run_id))
        if left:
            names = ", ".join(each.title for each in left)
            raise EnvironmentFailure(
                f"some of the run's objects cannot be removed: {names}",
                hint=f"nodes/warden.log says why; they bear the label {RUN}={self.marks.run_id}",
            )


async def open_site(rundir: RunDir, lost: asyncio.Event) -> Site:
    """Find the engine, start the warden, build the helpers' image, look whether the engine is here, make the network.

    `lost` is set if the warden ends unasked.

    Raises EnvironmentFailure: no engine, or one that is not on this machine or cannot do what a run needs; then
    nothing is left behind.
    """
    engine = await Engine.connect()
    files = SharedFiles(rundir)
    user = _name_inside(engine, files.user)
    warden = await WardenClient.start(rundir.logs / "warden.log", lost=lost)
    try:
        marks = Marks(warden.run_id, warden.owner, str(rundir.path.absolute()))
        maker = str(Owner.of(os.getpid()))
        argv = [sys.executable, "-m", sweeping.__name__, "--run", marks.run_id, "--maker", maker]
        await warden.at_end(argv, _own_environment())
        images = ImageStore(engine, rundir.logs)
        await _look_around(rundir, engine, marks, files, image=await images.tag_of(helpers_recipe()), user=user)
        named = marks.name(_NETWORK), marks.labels(_NETWORK)
        addresses = await engine.ask("make the run's network", lambda api: make_network(api, *named))
    except BaseException:
        await engine.calls_end()
        await warden.shutdown(0.0)
        raise
    return Site(engine, warden, marks, images, files, addresses, user)


def open_files() -> int:
    """As many as a process of ours may open: each connection is one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, _MANY_FILES)


async def _look_around(
    rundir: RunDir, engine: Engine, marks: Marks, files: SharedFiles, *, image: str, user: str
) -> None:
    """Raises EnvironmentFailure unless containers run on this machine and see the run directory."""
    place = rundir.path.absolute() / ".docker"
    spec = look_from(place, image, user=user, labels=marks.labels(_LOOK), open_files=open_files(), env=marks.env())
    body = spec.body(engine.api_version)
    try:
        files.hand_over([place])
        judge(place, await engine.ask("run a container", lambda api: run_once(api, body, marks.name(_LOOK))))
    finally:
        place.unlink(missing_ok=True)


def _name_inside(engine: Engine, user: tuple[int, int]) -> str:
    """As whom containers run, so that files here are theirs. Raises EnvironmentFailure where no number does that."""
    options = {option.partition(",")[0] for option in engine.info.get("SecurityOptions") or ()}
    if "name=rootless" in options:
        return "0:0"  # inside, that is the name of the very user whom the engine runs as; outside it is nobody more
    if "name=userns" in options:
        raise EnvironmentFailure(
            "the Docker engine gives containers other user numbers (userns-remap): they could not write journals",
            hint="use an engine without userns-remap, or a rootless one",
        )
    return f"{user[0]}:{user[1]}"


def _own_environment() -> dict[str, str]:
    """For a process that starts in the root folder: the engine and the modules that we use, under full names."""
    paths = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)} if paths else dict(os.environ)
