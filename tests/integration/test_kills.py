"""fanlab, its warden or both killed, and interrupted twice: nothing is left, and nobody else's is touched.

Some of the ways of `make kills`, which has them all, on both backends; test_interrupted.py kills at random instants.
"""

import signal
from collections.abc import Callable

import pytest

from fanlab.errors import EnvironmentFailure
from fanlab.topology.redis import find_server
from support.killing import (
    Case,
    adopted,
    both_killed,
    fanlab,
    interrupted,
    interrupted_twice,
    keeper_killed,
    killed_at,
    new_case,
    warden_killed,
    worker_killed,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(interrupted(signal.SIGINT), id="interrupted"),
        pytest.param(interrupted_twice(signal.SIGTERM), id="interrupted-twice"),
        pytest.param(warden_killed, id="warden"),
        pytest.param(both_killed, id="both"),
        pytest.param(adopted("redis-maxclients", fanlab), id="adopted-redis"),
        pytest.param(keeper_killed, id="keeper"),
        pytest.param(worker_killed, id="worker"),
    ],
)
def test_nothing_is_left_behind(way: Callable[[Case], None]) -> None:
    try:
        find_server()
    except EnvironmentFailure as error:
        pytest.skip(error.message)
    with new_case("process", None, "") as case:
        way(case)
        assert case.problems == [], case.log.read_text()


def test_a_run_that_ends_before_it_is_killed_shows_nothing() -> None:
    with new_case("process", None, "") as case:
        (case.place / "scenario.yaml").write_text("no scenario")
        killed_at(1.0, [60.0])(case)
        assert not case.killed
        assert case.problems == ["it had ended with 2 by itself before it was to be killed"]
