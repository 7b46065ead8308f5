"""`fanlab sweep`: what runs have left behind on this machine is found by their marks, and removed; and nothing else.

It is needed only where fanlab and its warden were both killed; docs/nothing-left-behind.md tells who removes what. A
run's things are its own to use as long as its owner lives, and one whose owner cannot be judged from here (another
machine's, a container's) is left alone.
"""

import asyncio
import functools
import os
import select
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import requests
from docker.errors import DockerException
from redis.exceptions import RedisError

from fanlab.errors import EnvironmentFailure, FanlabError
from fanlab.faults.keeping import Kept, not_given_back
from fanlab.faults.redis_keeper import give_back, open_redis
from fanlab.rundir import RunDir
from fanlab.topology import images, marked, sweeping
from fanlab.topology.cgroups import named_groups
from fanlab.topology.engine import connect
from fanlab.topology.labels import Marks, Owner
from fanlab.topology.marked import Marked
from fanlab.topology.private import signed_folders
from fanlab.topology.reach import Reach
from fanlab.topology.sweeping import Found
from fanlab.topology.warden import ENDED_WITHIN_S, remove_folders

ENGINE_WITHIN_S: Final = 5.0
REDIS_PORT: Final = 6379
_HIDDEN: Final = ":***@"  # a password, left out


@dataclass(slots=True)
class Outcome:
    """What was told, so that it can be counted: a line for each thing, and one for each note."""

    tell: Callable[[str], None]
    note: Callable[[str], None]
    removed: int = 0
    failed: int = 0

    def gone(self, what: str) -> None:
        """It is there no more."""
        self.removed += 1
        self.tell(f"removed {what}")

    def stays(self, what: str, why: str) -> None:
        """It is still there."""
        self.failed += 1
        self.tell(f"cannot remove {what}: {why}")

    def would_go(self, what: str) -> None:
        """In a dry run."""
        self.removed += 1
        self.tell(f"would remove {what}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs' things are to go: those left behind; or those of one run or of all, and that is ended first."""

    run: str | None = None
    everything: bool = False

    def names(self, marks: Marks) -> bool:
        """Whether this run was asked for by name, or with all of them."""
        return self.everything or (self.run is not None and marks.run_id.startswith(self.run))

    def has(self, marks: Marks) -> bool:
        """Whether this thing may go now."""
        if self.run is not None and not self.names(marks):
            return False
        return marks.owner.gone() or (self.names(marks) and not marks.owner.alive())


class Thing(Protocol):
    """Something that bears a mark."""

    @property
    def marks(self) -> Marks:
        """Whose it is."""

    @property
    def title(self) -> str:
        """What it is, as it is told."""


def sweep(wanted: Wanted, outcome: Outcome, *, dry_run: bool = False, with_images: bool = False) -> None:
    """Look, tell what is left alone, and remove the rest; `dry_run` only tells.

    Raises EnvironmentFailure where `wanted` names no single run.
    """
    api = _engine(outcome)
    things = _look(api, outcome)
    runs = {thing.marks.run_id: thing.marks.owner for thing in things}
    if wanted.run is not None and len(named := [run for run in runs if run.startswith(wanted.run)]) > 1:
        raise EnvironmentFailure(f"several runs' ids begin with {wanted.run}: {', '.join(sorted(named))}")
    _tell_others(runs, wanted, outcome)
    if dry_run:
        for thing in things:
            if wanted.has(thing.marks) or wanted.names(thing.marks):
                outcome.would_go(thing.title)
    else:
        _end_owners(wanted, outcome)
        _remove_processes(wanted, outcome)
        if api is not None:
            _remove_objects(api, wanted, outcome)
        _remove_groups(wanted, outcome)
        _undo(wanted, outcome)
        _remove_folders(wanted, outcome)
    if with_images and api is not None:
        _remove_images(api, [owner for owner in runs.values() if owner.alive()], outcome, dry_run=dry_run)


def _engine(outcome: Outcome) -> Any:
    """The engine that is named here; None, and a note: there is none."""
    try:
        return connect(ENGINE_WITHIN_S).api
    except EnvironmentFailure as error:
        outcome.note(f"containers were not looked at: {error.message}")
        return None


def _look(api: Any, outcome: Outcome) -> list[Thing]:
    """In the order in which they go."""
    objects: list[Object] = []
    if api is not None:
        try:
            objects = _objects(api)
        except (DockerException, requests.RequestException) as error:
            outcome.stays("containers", f"the Docker engine does not list them ({error})")
    return [*marked.find(), *objects, *named_groups(), *signed_folders()]


@dataclass(frozen=True, slots=True)
class Object:
    """One of an engine's, and whose it is."""

    found: Found
    marks: Marks

    @property
    def title(self) -> str:
        """As it is told."""
        return self.found.title


def _objects(api: Any) -> list[Object]:
    """This user's. What does not say whose it is is nobody's to remove."""
    mine = [each for each in sweeping.find(api) if each.user == str(os.getuid())]
    return [Object(each, each.marks) for each in mine if each.marks is not None]


def _tell_others(runs: dict[str, Owner], wanted: Wanted, outcome: Outcome) -> None:
    for run_id, owner in sorted(runs.items()):
        if wanted.names(Marks(run_id, owner)):
            continue
        if owner.alive():
            outcome.note(f"run {run_id} goes on (its owner is process {owner.pid}): left alone")
        elif not owner.gone():
            outcome.note(f"run {run_id} may go on elsewhere ({owner}): left alone; --run {run_id} removes it")


def _end_owners(wanted: Wanted, outcome: Outcome) -> None:
    """Wardens that live end all they own in order; one that does not is killed, and its processes are orphans then."""
    for warden in [each for each in marked.find() if each.is_warden and wanted.names(each.marks)]:
        title = warden.title
        with marked.held(warden) as fd:
            if fd is not None:
                marked.send(fd, signal.SIGUSR1)
                select.select([fd], [], [], ENDED_WITHIN_S)
        if marked.end(functools.partial(_still, warden.key), grace_s=0.0):
            outcome.stays(title, "it does not end")
        else:
            outcome.gone(title)


def _still(key: tuple[int, int]) -> list[Marked]:
    return [each for each in marked.find() if each.key == key]


def _remove_processes(wanted: Wanted, outcome: Outcome) -> None:
    seen: dict[tuple[int, int], str] = {}

    def find() -> list[Marked]:
        found = [each for each in marked.find() if wanted.has(each.marks)]
        seen.update({each.key: each.title for each in found if each.key not in seen})
        return found

    left = {each.key for each in marked.end(find)}
    for process, title in seen.items():
        if process in left:
            outcome.stays(title, "it does not end, or is another user's by now")
        else:
            outcome.gone(title)


def _remove_objects(api: Any, wanted: Wanted, outcome: Outcome) -> None:
    def find() -> list[Found]:
        return [each.found for each in _objects(api) if wanted.has(each.marks)]

    try:
        if find():
            complaints = sweeping.sweep_found(
                api, find, quiet_s=sweeping.QUIET_S, tell=lambda each: outcome.gone(each.title)
            )
            for complaint in complaints:
                outcome.stays(*complaint.split(": ", 1))
    except (DockerException, requests.RequestException) as error:
        outcome.stays("containers", f"the Docker engine does not answer ({error})")


def _remove_groups(wanted: Wanted, outcome: Outcome) -> None:
    for group in named_groups():
        if wanted.has(group.marks):
            why = group.remove()
            outcome.gone(group.title) if why is None else outcome.stays(group.title, why)


def _remove_folders(wanted: Wanted, outcome: Outcome) -> None:
    for folder in signed_folders():
        if wanted.has(folder.marks):
            remove_folders([str(folder.path)])
            there = folder.path.exists()
            outcome.stays(folder.title, "something in it does not go") if there else outcome.gone(folder.title)


def _undo(wanted: Wanted, outcome: Outcome) -> None:
    """Settings of somebody's Redis that a killed keeper has not given back, as far as they can be reached."""
    directories = {each.marks.directory for each in signed_folders() if wanted.has(each.marks)} - {""}
    for directory in sorted(directories):
        for kept in not_given_back(RunDir(Path(directory)).undo):
            what = f"setting {kept.setting} of the Redis at {kept.redis}"
            try:
                given_back = _give_back(kept)
            except (RedisError, FanlabError, OSError, ValueError) as error:
                outcome.stays(what, f"it was {kept.had!r} before the run in {directory}, and is not set back ({error})")
            else:
                if given_back:
                    outcome.gone(what)


def _give_back(kept: Kept) -> bool:
    if _HIDDEN in kept.redis:
        raise EnvironmentFailure("its password was not written down")
    asyncio.run(Reach().place(kept.redis, "undo.jsonl", ("redis", "rediss"), REDIS_PORT))
    with open_redis(kept.redis) as redis:
        return give_back(redis, kept.setting, kept.had, kept.given)[0] == "back"


def _remove_images(api: Any, running: Iterable[Owner], outcome: Outcome, *, dry_run: bool) -> None:
    if list(running):
        outcome.note("images are left alone while a run goes on, which may be about to use one")
        return
    for tag in images.unused(api):
        if dry_run:
            outcome.would_go(f"image {tag}")
            continue
        try:
            api.remove_image(tag)
        except (DockerException, requests.RequestException) as error:
            outcome.stays(f"image {tag}", str(error))
        else:
            outcome.gone(f"image {tag}")
