"""Removing a run's objects by label, at a fake engine: what is found, in which order it goes, and when it is enough."""

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, NotFound

from fanlab import manual
from fanlab import sweep as fanlab_sweep
from fanlab.topology import sweeping, warden
from fanlab.topology.labels import OWNER, RUN, Owner

HERE = Owner.of(os.getpid())
DEAD = str(replace(HERE, start_ticks=HERE.start_ticks + 1))
OURS = {RUN: "r1", OWNER: DEAD}


class FakeEngine:
    """Containers, networks and volumes, and what was done to them."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, dict[str, str]]] = {"container": {}, "network": {}, "volume": {}}
        self.late: list[tuple[int, str]] = []  # (look, name) of containers that come behind our back
        self.looks = 0
        self.stubborn: set[str] = set()
        self.removed: list[str] = []

    def _having(self, kind: str, filters: dict[str, str]) -> list[dict[str, Any]]:
        name, _, value = filters["label"].partition("=")
        found = [
            (each, labels)
            for each, labels in self.objects[kind].items()
            if name in labels and (not value or labels[name] == value)
        ]
        return [{"Id": each, "Name": each, "Names": [f"/{each}"], "Labels": labels} for each, labels in found]

    def containers(self, *, all: bool, filters: dict[str, str]) -> list[dict[str, Any]]:  # noqa: A002 - the SDK's name
        assert all
        self.looks += 1
        self.objects["container"] |= {name: OURS for look, name in self.late if look == self.looks}
        return self._having("container", filters)

    def networks(self, *, filters: dict[str, str]) -> list[dict[str, Any]]:
        return self._having("network", filters)

    def volumes(self, *, filters: dict[str, str]) -> dict[str, Any]:
        return {"Volumes": self._having("volume", filters) or None}

    def _remove(self, kind: str, name: str) -> None:
        if name not in self.objects[kind]:
            raise NotFound(name)
        if name in self.stubborn:
            raise APIError(f"{name} is in use")
        del self.objects[kind][name]
        self.removed.append(name)

    def remove_container(self, name: str, *, force: bool, v: bool) -> None:
        assert force
        assert v
        self._remove("container", name)

    def remove_network(self, name: str) -> None:
        assert not self.objects["container"].keys() & {"ours", "ours-too"}, "containers hold their network"
        self._remove("network", name)

    def remove_volume(self, name: str, *, force: bool) -> None:
        assert force
        self._remove("volume", name)


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine()
    engine.objects["container"] |= {"ours": OURS, "ours-too": OURS, "bystander": {}, "other": {RUN: "r2", OWNER: DEAD}}
    engine.objects["network"] |= {"net": OURS, "bridge": {}}
    engine.objects["volume"] |= {"vol": OURS}
    return engine


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "LOOK_S", 0.001)


def test_of_one_run_or_of_any(engine: FakeEngine) -> None:
    assert [each.name for each in sweeping.find(engine, "r1")] == ["ours", "ours-too", "net", "vol"]
    everybody = sweeping.find(engine)
    assert {(each.kind, each.name, each.run_id) for each in everybody} == {
        ("container", "ours", "r1"),
        ("container", "ours-too", "r1"),
        ("container", "other", "r2"),
        ("network", "net", "r1"),
        ("volume", "vol", "r1"),
    }


def test_only_its_own_goes_containers_first(engine: FakeEngine) -> None:
    assert sweeping.sweep(engine, "r1", quiet_s=0.0) == []
    assert sorted(engine.removed[:2]) == ["ours", "ours-too"]
    assert engine.removed[2:] == ["net", "vol"]
    left = {kind: sorted(objects) for kind, objects in engine.objects.items()}
    assert left == {"container": ["bystander", "other"], "network": ["bridge"], "volume": []}


def test_what_an_orphaned_call_still_makes_goes_too(engine: FakeEngine) -> None:
    engine.late = [(2, "late"), (4, "later")]
    assert sweeping.sweep(engine, "r1", quiet_s=0.05) == []
    assert {"late", "later"} <= set(engine.removed)


def test_what_cannot_be_removed_is_told_with_the_reason(engine: FakeEngine) -> None:
    engine.stubborn = {"net"}
    (complaint,) = sweeping.sweep(engine, "r1", quiet_s=0.0, deadline_s=0.05)
    assert complaint.startswith("network net: ")
    assert "net is in use" in complaint
    assert "vol" in engine.removed


def test_an_orphan_is_known_by_its_owner() -> None:
    def owned_by(owner: str) -> sweeping.Found:
        return sweeping.Found("container", "i", "n", "r", owner)

    assert owned_by(DEAD).orphaned()
    assert owned_by(str(replace(HERE, boot_id="before"))).orphaned()
    assert not owned_by(str(HERE)).orphaned()
    assert not owned_by(str(replace(HERE, host="elsewhere", start_ticks=7))).orphaned(), "nobody here can tell"
    assert not owned_by("1:0:none").orphaned(), "as labels once were: nobody's to remove"
    assert not owned_by("nonsense").orphaned(), "nobody's to remove"


def test_the_time_that_connecting_takes_is_no_more_time_for_removing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the warden, and `fanlab down` behind it, would give up before it."""
    now_s = [100.0]
    engine, given = SimpleNamespace(api=object()), []

    def connect(timeout_s: float) -> SimpleNamespace:
        assert timeout_s == sweeping.CONNECT_S
        now_s[0] += 9.0
        return engine

    monkeypatch.setattr(sweeping, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    monkeypatch.setattr(sweeping, "connect", connect)
    monkeypatch.setattr(sweeping, "sweep", lambda *_, deadline_s, **__: given.append(deadline_s) or [])
    assert sweeping.main(["--run", "r1", "--maker", DEAD]) == 0
    assert given == [sweeping.DEADLINE_S - 9.0]
    assert sweeping.DEADLINE_S < warden.AT_END_S
    assert manual.ENDED_WITHIN_S == fanlab_sweep.ENDED_WITHIN_S > warden.DETACHED_GRACE_S + warden.AT_END_S
