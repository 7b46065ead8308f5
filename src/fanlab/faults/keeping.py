"""Keeping the settings of a Redis that is not ours: faults change them, and no end of fanlab may leave them changed.

The run's own Redis goes with the run. An adopted one (--redis-url) stays, so a process beside the harness, the keeper,
is connected to it from before the first fault, and gives it its settings back when the harness ends, however it ends.
It is the one process that the warden does not own: it has to outlive the warden too. Its marks are its own for the same
reason, and name the harness; by them `fanlab sweep` finds what a keeper that was killed has not given back.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from fanlab.errors import EnvironmentFailure
from fanlab.faults.redis_keeper import GIVE_BACK_S, GIVEN_VARIABLE, READY, URL_VARIABLE
from fanlab.faults.timeline import PlannedFault
from fanlab.rundir import RunDir
from fanlab.topology.backend import Backend, Need
from fanlab.topology.labels import Marks, Owner
from fanlab.topology.logtail import tail

KEEPER: Final = "redis-keeper"
READY_S: Final = 20.0
ENDED_S: Final = GIVE_BACK_S + 2
CHANGES: Final[dict[str, Callable[[Mapping[str, Any]], tuple[str, str]]]] = {  # by kind: a setting, and what it gets
    "redis-output-buffer": lambda of: ("client-output-buffer-limit", f"pubsub {of['limit_bytes']} 0 0"),
    "redis-maxclients": lambda _: ("maxclients", "1"),
}


def changes(timeline: Iterable[PlannedFault]) -> dict[str, list[str]]:
    """Which settings these faults change, each with the values that they give it."""
    found: dict[str, list[str]] = {}
    for fault in timeline:
        if fault.kind in CHANGES:
            name, value = CHANGES[fault.kind](fault.settings)
            found.setdefault(name, [])
            if value not in found[name]:
                found[name].append(value)
    return found


class Keeper:
    """A keeper for as long as the `async with` lasts; none where there is nothing to keep, or the Redis is ours."""

    def __init__(
        self,
        backend: Backend,
        rundir: RunDir,
        timeline: Iterable[PlannedFault],
        redis_url: str,
        *,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`warn` is told what is not given back where an error that came before must not be hidden by another."""
        adopted = backend.refusal(Need.OWN_REDIS) is not None
        self._given = changes(timeline) if adopted else {}
        self._backend = backend
        self._rundir = rundir
        self._redis_url = redis_url
        self._warn = warn
        self._log = rundir.logs / f"{KEEPER}.log"
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        """Returns once the keeper has noted what there is to keep. Raises EnvironmentFailure if it cannot."""
        if self._given:
            self._process = self._start()
            try:
                ready = await self._ready(self._process)
            except asyncio.CancelledError:
                await self._ended(self._process)  # nothing has been changed yet
                raise
            if not ready:
                await self._ended(self._process)
                raise self._failure("the settings of the Redis of --redis-url cannot be kept, so none is changed")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Have them given back. Raises EnvironmentFailure, naming them, if one is not; or warns, if that is not all."""
        if self._process is None or await self._ended(self._process) == 0:
            return
        left = "".join(
            f"; {kept.setting} was {kept.had!r} before the run" for kept in not_given_back(self._rundir.undo)
        )
        failure = self._failure(f"the Redis of --redis-url has not got all its settings back{left}")
        if kind is None:
            raise failure
        self._warn(str(failure))

    async def _ended(self, process: "subprocess.Popen[bytes]") -> int:
        """Have it end: it gives back what it kept, and removes its folder. Returns its exit status."""
        if process.stdin is not None:
            process.stdin.close()
        try:
            return await asyncio.to_thread(process.wait, ENDED_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            if process.stdout is not None:
                process.stdout.close()

    async def _ready(self, process: "subprocess.Popen[bytes]") -> bool:
        stdout = process.stdout
        try:
            async with asyncio.timeout(READY_S):
                return stdout is not None and await asyncio.to_thread(stdout.readline) == READY
        except TimeoutError:
            return False

    def _start(self) -> "subprocess.Popen[bytes]":
        told = {URL_VARIABLE: self._redis_url, GIVEN_VARIABLE: json.dumps(self._given)}
        argv = [sys.executable, "-m", "fanlab.faults.redis_keeper", "--journal", str(self._rundir.undo.absolute())]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                argv,
                env={**os.environ, **Marks.new(Owner.of(os.getpid())).env(), **told},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal is for the harness
            )

    def _failure(self, what: str) -> EnvironmentFailure:
        said = "".join(f": {line}" for line in tail(self._log, 1))
        return EnvironmentFailure(f"{what}{said}", hint=f"see {self._rundir.undo} and {self._log}")


@dataclass(frozen=True, slots=True)
class Kept:
    """A setting that nobody has given back yet."""

    redis: str  # its URL, the password left out
    setting: str
    had: str
    given: tuple[str, ...]


def not_given_back(journal: Path) -> list[Kept]:
    """What a keeper was to give back and did not, by its journal; nothing where there was none."""
    kept: dict[str, Kept] = {}
    try:
        lines = journal.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            told = json.loads(line)
            if told["ev"] == "keep":
                name = str(told["setting"])
                kept[name] = Kept(str(told["redis"]), name, str(told["had"]), tuple(map(str, told["given"])))
            elif told["ev"] in ("back", "untouched"):
                kept.pop(told["setting"], None)
        except (ValueError, KeyError, TypeError):
            continue  # torn, as the end of a killed process's journal may be
    return list(kept.values())
