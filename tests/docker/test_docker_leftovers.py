"""Whatever becomes of fanlab, its containers and networks go, and nobody else's do."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanlab.topology.labels import UNIT
from support.docker_runs import Labelled, command, eventually, run_id_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

GONE_WITHIN_S = 30.0
# How far a run has come when it is killed: units that are there by then.
STAGES = {"starting": {"redis"}, "loading": {"redis", "node-1", "node-2", "node-3", "witness", "load-1"}}


@pytest.fixture
def bystander(engine: Any, tmp_path: Path) -> Iterator[str]:
    """Somebody else's container, of an image that fanlab uses, and labelled like nothing of fanlab's."""
    from fanlab.topology.images import build, redis_recipe

    image = build(engine, redis_recipe(), tmp_path / "build.log")
    config = {"Image": image, "Entrypoint": ["sleep", "300"], "HostConfig": {"Init": True, "NetworkMode": "none"}}
    made = engine.create_container_from_config(config, f"bystander-{os.getpid()}")["Id"]
    engine.start(made)
    try:
        yield made
    finally:
        engine.remove_container(made, force=True)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_left_of_a_killed_run_and_a_bystander_lives(
    labelled: Labelled, bystander: str, tmp_path: Path, stage: str, signum: signal.Signals
) -> None:
    out = tmp_path / "run"
    argv = [*command("quickstart", out=out), "--no-progress"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:

        def come_so_far() -> str | None:
            assert process.poll() is None, "the run ended before it was to be killed"
            run_id = run_id_of(out)
            units = {each["Labels"][UNIT] for each in labelled.containers(run_id)} if run_id else set()
            return run_id if units >= STAGES[stage] else None

        run_id = eventually(come_so_far, 300, f"a run that is {stage}")
        process.send_signal(signum)
        process.wait(timeout=60)
    eventually(lambda: not labelled.everything(run_id), GONE_WITHIN_S, "the run's containers and network to go")
    assert labelled.api.inspect_container(bystander)["State"]["Running"]
