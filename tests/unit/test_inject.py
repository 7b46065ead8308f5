"""The injector stamps what its probes saw, and says so when they saw nothing."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from fanlab import clock
from fanlab.errors import EnvironmentFailure, HarnessError
from fanlab.faults import catalogue, inject
from fanlab.faults.fault import Means, Target
from fanlab.faults.timeline import PlannedFault
from fanlab.ledger.events import FaultStamp
from fanlab.topology.backend import Backend


@dataclass
class Scripted:
    """A fault that bites and heals when the test says so; for unit tests of the injector only."""

    bites: bool = True
    heals: bool = True
    error: Exception | None = None
    hangs: bool = False
    heal_error: Exception | None = None
    calls: list[str] = field(default_factory=list)

    async def inject(self) -> None:
        self.calls.append("inject")
        if self.hangs:
            await asyncio.Event().wait()
        if self.error:
            raise self.error

    async def has_bitten(self) -> bool:
        return self.bites and "inject" in self.calls

    async def heal(self) -> None:
        self.calls.append("heal")
        if self.heal_error:
            raise self.heal_error

    async def has_healed(self) -> bool:
        return self.heals and "heal" in self.calls


def run(
    fault: Scripted | list[Scripted],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    for_ns: int | None = 1_000_000,
    kind: str = "crash",
) -> tuple[list[inject.FaultFailure], list[FaultStamp]]:
    faults = fault if isinstance(fault, list) else [fault]

    def made(target: Target) -> Scripted:
        return faults[target.id]

    monkeypatch.setitem(catalogue.FAULTS, kind, made)
    monkeypatch.setattr(inject, "BITE_DEADLINE_S", 0.05)
    monkeypatch.setattr(inject, "HEAL_DEADLINE_S", 0.05)
    monkeypatch.setattr(inject, "OWN_HEAL_DEADLINE_S", 0.05)
    monkeypatch.setattr(inject, "ABORT_HEAL_S", 0.05)
    told: list[FaultStamp] = []
    journal = inject.FaultJournal(tmp_path / "faults.jsonl", told.append)
    planned = [PlannedFault(id_, kind, "node-1", at_ns=2_000_000, for_ns=for_ns) for id_ in range(len(faults))]
    means = Means(cast("Backend", None), "redis://127.0.0.1")
    failures = asyncio.run(inject.inject_all(planned, clock.now_ns(), means, journal))
    journal.close()
    return failures, told


def names(stamps: list[FaultStamp]) -> list[str]:
    return [stamp["stamp"] for stamp in stamps]


def test_four_stamps_in_order_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, told = run(Scripted(), tmp_path, monkeypatch)
    assert not failures
    assert names(told) == ["requested", "confirmed", "heal_requested", "heal_confirmed"]
    assert [stamp["t"] for stamp in told] == sorted(stamp["t"] for stamp in told)
    assert [json.loads(line) for line in (tmp_path / "faults.jsonl").read_text().splitlines()] == told


def test_a_fault_without_an_end_is_not_healed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Scripted()
    failures, told = run(fault, tmp_path, monkeypatch, for_ns=None)
    assert not failures
    assert names(told) == ["requested", "confirmed"]
    assert fault.calls == ["inject"]


@pytest.mark.parametrize("for_ns", [1_000_000, None])
def test_a_fault_that_shows_no_effect_is_a_failure_and_is_undone_and_never_called_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_ns: int | None
) -> None:
    fault = Scripted(bites=False)
    failures, told = run(fault, tmp_path, monkeypatch, for_ns=for_ns)
    assert "no effect" in failures[0].why
    assert names(told) == ["requested", "heal_requested", "heal_confirmed"]
    assert fault.calls == ["inject", "heal"]  # while the run goes on: it may hold all the same


def test_a_fault_that_does_not_heal_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, told = run(Scripted(heals=False), tmp_path, monkeypatch)
    assert "did not heal" in failures[0].why
    assert names(told) == ["requested", "confirmed", "heal_requested"]


def test_what_the_system_never_mends_is_no_failure_of_the_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, told = run(Scripted(heals=False), tmp_path, monkeypatch, for_ns=0)
    assert not failures
    assert names(told) == ["requested", "confirmed", "heal_requested"]


def test_an_error_of_the_machine_is_told_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures, _ = run(Scripted(error=EnvironmentFailure("no such unit")), tmp_path, monkeypatch)
    assert failures[0].why == "no such unit"


@pytest.mark.parametrize("bug", [KeyError("limit"), HarnessError("node-1 was never started")])
@pytest.mark.parametrize("first", [True, False])
def test_a_bug_in_a_fault_is_told_as_what_it_is_and_ends_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bug: Exception, *, first: bool
) -> None:
    faults = [Scripted(bites=False), Scripted(error=bug)]
    with pytest.raises(type(bug)) as caught:
        run(faults[::-1] if first else faults, tmp_path, monkeypatch)
    assert caught.value is bug


@pytest.mark.parametrize(
    "fault", [Scripted(hangs=True), Scripted(error=OSError("reset")), Scripted(error=EnvironmentFailure("half done"))]
)
def test_what_may_have_been_done_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Scripted) -> None:
    failures, told = run(fault, tmp_path, monkeypatch, kind="pause")
    assert len(failures) == 1
    assert names(told) == ["requested", "heal_requested", "heal_confirmed"]
    assert fault.calls == ["inject", "heal"]


def test_who_could_not_be_ended_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Scripted(error=EnvironmentFailure("it runs no more"))
    assert names(run(fault, tmp_path, monkeypatch)[1]) == ["requested"]
    assert fault.calls == ["inject"]


def test_where_nothing_is_to_be_undone_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Scripted(bites=False)
    assert names(run(fault, tmp_path, monkeypatch, for_ns=0)[1]) == ["requested"]
    assert fault.calls == ["inject"]


def test_a_healing_that_complains_is_looked_at_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Scripted(heal_error=EnvironmentFailure("7 bytes came through the partition"))
    failures, told = run(fault, tmp_path, monkeypatch)
    assert failures[0].why == "7 bytes came through the partition"
    assert names(told) == ["requested", "confirmed", "heal_requested", "heal_confirmed"]
