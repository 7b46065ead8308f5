"""Who ended: told once each, with the time and the status; what a fault ended with that fault, which is no news."""

import asyncio
from typing import Any

import pytest

from fanlab.errors import EnvironmentFailure
from fanlab.ledger.events import FaultStamp
from fanlab.topology.backend import UnitState
from fanlab.watch import ExpectedExit, UnplannedExit, Watch


class Units:
    """As much of a Backend as a Watch uses: units that a test ends and starts."""

    def __init__(self, *names: str) -> None:
        self.gone: dict[str, int] = {}
        self.ends = {name: asyncio.get_running_loop().create_future() for name in names}

    async def exited(self, unit: str) -> int:
        return int(await asyncio.shield(self.ends[unit]))

    def gone_ns(self, unit: str) -> int | None:
        return self.gone.get(unit)

    def state(self, unit: str) -> UnitState:
        return UnitState.GONE if self.ends[unit].done() else UnitState.RUNNING

    def end(self, unit: str, status: int) -> None:
        self.ends[unit].set_result(status)

    def start(self, unit: str) -> None:
        self.ends[unit] = asyncio.get_running_loop().create_future()


def stamp(name: str, target: str, kind: str = "crash", id_: int = 0) -> FaultStamp:
    return FaultStamp(id=id_, kind=kind, target=target, stamp=name, t=0)  # type: ignore[typeddict-item]


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def watch(
    units: Any, told: list[UnplannedExit], zero_ns: int | None = 0, expected: list[ExpectedExit] | None = None
) -> Watch:
    return Watch(units, list(units.ends), lambda: zero_ns, told.append, ([] if expected is None else expected).append)


async def test_a_unit_that_ends_by_itself_is_told_once_with_time_and_status() -> None:
    units, told = Units("node-1", "redis"), []
    async with watch(units, told):
        units.end("redis", -9)
        await settled()
        units.end("node-1", 3)
        await settled()
    assert [(death["unit"], death["status"]) for death in told] == [("redis", -9), ("node-1", 3)]
    assert all(death["t_s"] is not None and death["t_s"] > 0 for death in told)


async def test_before_time_0_there_is_no_time_to_tell() -> None:
    units, told = Units("node-1"), []
    async with watch(units, told, zero_ns=None):
        units.end("node-1", 0)
        await settled()
    assert told == [{"unit": "node-1", "t_s": None, "status": 0}]


async def test_what_a_fault_ended_is_no_news_until_it_is_back(monkeypatch: Any) -> None:
    monkeypatch.setattr("fanlab.watch.POLL_S", 0)
    units, told = Units("node-1"), []
    async with watch(units, told) as watching:
        watching.stamped(stamp("requested", "node-1"))
        units.end("node-1", -9)
        await settled()
        assert told == []
        units.start("node-1")
        watching.stamped(stamp("heal_confirmed", "node-1"))
        await settled()
        units.end("node-1", 1)
        await settled()
    assert [death["status"] for death in told] == [1]


@pytest.mark.parametrize("kind", ["crash", "stop", "restart", "memory-limit"])
async def test_what_a_fault_ended_is_told_with_that_fault(kind: str) -> None:
    units, told, expected = Units("node-1", "node-2"), [], []
    async with watch(units, told, expected=expected) as watching:
        watching.stamped(stamp("requested", "node-1", kind, id_=4))
        watching.stamped(stamp("requested", "node-2", kind, id_=5))
        units.end("node-2", -9)
        await settled()
    assert told == []
    (end,) = expected
    assert (end["unit"], end["status"], end["fault"]) == ("node-2", -9, 5)
    assert end["t_s"] is not None
    assert end["t_s"] > 0


async def test_a_fault_that_does_not_end_its_target_excuses_no_death() -> None:
    units, told = Units("node-1", "node-2"), []
    async with watch(units, told) as watching:
        watching.stamped(stamp("requested", "node-1", "pause"))
        watching.stamped(stamp("requested", "node-2"))
        units.end("node-1", -9)
        units.end("node-2", -9)
        await settled()
    assert [death["unit"] for death in told] == ["node-1"]


async def test_a_lost_warden_ends_the_watch() -> None:
    units, told = Units("node-1"), []
    async with watch(units, told):
        units.ends["node-1"].set_exception(EnvironmentFailure("the warden has ended"))
        await settled()
    assert told == []


async def test_the_time_of_an_end_is_the_kernel_s_however_late_it_is_told() -> None:
    units, told = Units("node-1"), []
    async with watch(units, told, zero_ns=1_000_000_000):
        units.gone["node-1"] = 3_500_000_000
        units.end("node-1", -9)
        await settled()
    assert [death["t_s"] for death in told] == [2.5]
