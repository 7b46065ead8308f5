"""Which faults are refused before anything is started, by backend."""

from pathlib import Path

import pytest

from fanlab.errors import EnvironmentFailure
from fanlab.faults.catalogue import FAULTS, refuse_impossible
from fanlab.faults.timeline import PlannedFault
from fanlab.rundir import RunDir
from fanlab.topology.backend import NO_LIMITS, Limits
from fanlab.topology.external import ExternalBackend
from fanlab.topology.processes import ProcessBackend
from fanlab.topology.reach import Reach
from fanlab.topology.targets import Targets

BY_COMMANDS = {"redis-kill-pubsub", "redis-client-pause", "redis-output-buffer", "redis-maxclients"}


def planned(kind: str) -> PlannedFault:
    target = "redis" if kind.startswith("redis") else "node-1"
    return PlannedFault(id=0, kind=kind, target=target, at_ns=0, for_ns=1, settings={"link": "clients"})


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_a_system_that_runs_is_broken_by_redis_commands_only(kind: str, tmp_path: Path) -> None:
    backend = ExternalBackend(RunDir(tmp_path / "run"), Targets(), Reach())
    if kind in BY_COMMANDS:
        refuse_impossible([planned(kind)], backend)
        return
    with pytest.raises(EnvironmentFailure, match="--backend external here: it runs already"):
        refuse_impossible([planned(kind)], backend)


async def test_a_system_that_runs_takes_no_limits(tmp_path: Path) -> None:
    backend = ExternalBackend(RunDir(tmp_path / "run"), Targets(), Reach())
    assert Limits(cpus=1.0) != NO_LIMITS
    with pytest.raises(EnvironmentFailure, match="a Redis that runs already"):
        await backend.start_redis({}, limits=Limits(cpus=1.0))


def test_a_redis_that_is_adopted_takes_links_and_no_restart(tmp_path: Path) -> None:
    backend = ProcessBackend(RunDir(tmp_path / "run"), redis_url="redis://127.0.0.1:1/0")
    refuse_impossible([planned("partition"), planned("crash")], backend)
    with pytest.raises(EnvironmentFailure, match="leave --redis-url out"):
        refuse_impossible([planned("redis-restart")], backend)
