"""Each kind of fault once in containers, as `make faults` does it: it bites, it heals, and a probe of each saw it."""

from pathlib import Path
from typing import Any, Final

import pytest

from fanlab.faults.catalogue import FAULTS
from faults.faults import CASES, together
from support.docker_runs import Labelled, run_id_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

APART_S: Final = 5.0  # a container takes some seconds to come back: who dials it meanwhile asks again after 1 s and 3 s
GROUPS: Final = {
    "life": ("crash", "stop", "restart", "pause", "memory-limit"),
    "means": ("cpu-throttle", "clock-step", "subscriber-churn"),
    "links": (
        *("partition", "latency", "bandwidth", "slicing", "half-open", "slow-clients"),
        *("connection-reset", "reconnect-storm"),
    ),
    "redis": (
        *("redis-restart", "redis-pause", "redis-kill-pubsub", "redis-client-pause"),
        *("redis-output-buffer", "redis-maxclients", "redis-disk-full"),
    ),
}


def test_every_kind_is_in_a_group() -> None:
    assert sorted(kind for kinds in GROUPS.values() for kind in kinds) == sorted(FAULTS)


@pytest.mark.parametrize("group", GROUPS)
def test_each_bites_and_heals(engine: Any, labelled: Labelled, tmp_path: Path, group: str) -> None:
    del engine
    cases = [case for case in CASES if case.kind in GROUPS[group]]
    rows = together(cases, "docker", tmp_path / "in-turn", apart_s=APART_S)
    assert {row.kind: row.why for row in rows if row.why} == {}, "\n".join(row.text() for row in rows)
    run_id = run_id_of(tmp_path / "in-turn" / "run")
    assert run_id is not None
    assert labelled.everything(run_id) == []
