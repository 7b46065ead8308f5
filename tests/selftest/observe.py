"""One real run for the self-test: the scenario through fanlab's own front door, then both checkers on what it left."""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from fanlab import clock
from fanlab.agreement import compare, second_opinion
from fanlab.analysis.names import Names, names_of
from fanlab.ledger.account import account as account_of
from fanlab.ledger.result import Account
from fanlab.report.schema import Summary
from fanlab.report.summary import make_summary
from fanlab.run import Request
from fanlab.run import run as run_scenario
from fanlab.rundir import RunDir
from fanlab.scenario.loader import load_text

RUN_DEADLINE_S = 150.0
EPOCH_DEADLINE_S = 60.0
# The self-test judges the account, on machines that may be slow or busy; whether the generator kept up is judged by
# `overload.py` alone, which leaves the limits as they are.
LENIENT = {"schedule_lag_p99": "60s", "loop_lag_p99": "60s", "bias_p99": "60s", "cpu": 1.0, "steal": 1.0}


@dataclass(frozen=True, slots=True)
class Stage:
    """What an actor, who breaks things from outside while the run goes on, may know of it."""

    rundir: RunDir
    zero_ns: int
    redis_url: str
    pids: Callable[[], Mapping[str, int]]  # by node id, of the processes that run at this moment

    async def at(self, seconds: float) -> None:
        """Wait until that long after time 0."""
        await asyncio.sleep(max(0.0, (self.zero_ns - clock.now_ns()) / clock.NS_PER_S + seconds))


Actor = Callable[[Stage], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a run left, and what both checkers say of it."""

    rundir: RunDir
    manifest: dict[str, Any]
    account: Account
    summary: Summary
    names: Names
    agrees: bool
    disputes: list[str] = field(default_factory=list)

    def group_of(self, client: int) -> str:
        """The name of a client's group."""
        group = self.names.group_of(client)
        return group.name if group else "?"


def observe(scenario: Mapping[str, Any], out: Path, actors: Sequence[Actor] = ()) -> Observed:
    """Run `scenario` into the folder `out` while the actors act, and look at what it left.

    A run that is there already, and whole, is looked at as it is. An actor that fails, or a run that takes longer than
    its deadline, raises.
    """
    rundir = RunDir(out)
    kept = _manifest(rundir)
    if kept is None or kept["status"] != "complete":
        shutil.rmtree(out, ignore_errors=True)
        (loaded,) = load_text(yaml.safe_dump(dict(scenario), sort_keys=False), scenario["name"])
        rundir.create()
        asyncio.run(_run_with(Request(loaded, rundir, ["selftest"]), actors))
    return look(rundir)


def look(rundir: RunDir) -> Observed:
    """What both checkers say of a run directory."""
    manifest = rundir.read_manifest()
    account = account_of(rundir)
    with second_opinion(rundir) as second:
        agreement = compare(account, second)
    return Observed(
        rundir,
        manifest,
        account,
        make_summary(account, manifest),
        names_of(manifest),
        agreement.agrees,
        [f"{one.term} {one.ledger} and {one.sql}" for one in agreement.counts if not one.agrees]
        + [f"{one.term} only {one.only}: {one.client}, {one.stream}, {one.seq}" for one in agreement.differences],
    )


async def _run_with(request: Request, actors: Sequence[Actor]) -> None:
    async with asyncio.timeout(RUN_DEADLINE_S):
        run = asyncio.create_task(run_scenario(request, lambda _: None))
        acting = [asyncio.create_task(_act(actor, request.rundir)) for actor in actors]
        try:
            await run
            await asyncio.gather(*acting)
        finally:
            for task in (run, *acting):
                task.cancel()
            await asyncio.gather(run, *acting, return_exceptions=True)


async def _act(actor: Actor, rundir: RunDir) -> None:
    async with asyncio.timeout(EPOCH_DEADLINE_S):
        while (manifest := _manifest(rundir)) is None or manifest["phases"]["zero_ns"] is None:
            await asyncio.sleep(0.02)
    await actor(Stage(rundir, manifest["phases"]["zero_ns"], manifest["redis"]["url"], _node_pids))


def _manifest(rundir: RunDir) -> dict[str, Any] | None:
    with contextlib.suppress(FileNotFoundError):
        manifest: dict[str, Any] = json.loads(rundir.manifest.read_text(encoding="utf-8"))
        return manifest
    return None


def _node_pids() -> dict[str, int]:
    """The nodes among this process's descendants, by the id that they were told; a node's own children not counted."""
    found: dict[str, int] = {}
    for process in psutil.Process(os.getpid()).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            node = process.environ().get("FANLAB_NODE_ID")
            if node and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(node, process.pid)  # children come after their parents
    return found
