"""What is kept of a Redis that is not ours, and what of it is still to be given back."""

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import pytest

from fanlab.faults.catalogue import FAULTS
from fanlab.faults.fault import Means, Target
from fanlab.faults.keeping import CHANGES, Kept, changes, not_given_back
from fanlab.faults.redis_keeper import give_back, part
from fanlab.faults.redis_output_buffer import NAME
from fanlab.faults.redis_settings import RedisSetting
from fanlab.faults.timeline import PlannedFault
from fanlab.topology.backend import Backend

SETTINGS = {"limit_bytes": 5}
LIMITS = "normal 0 0 0 slave 268435456 67108864 60 pubsub {} 0 0"


def fault(kind: str, **settings: object) -> PlannedFault:
    return PlannedFault(0, kind, "redis", 0, 1, settings)


def setting_of(kind: str) -> tuple[Any, RedisSetting | None]:
    """A fault of this kind, and the setting that it changes, if it does."""
    made: Any = FAULTS[kind](Target(Means(cast("Backend", None), "redis://127.0.0.1"), "redis", settings=SETTINGS))
    values = [getattr(made, each.name, None) for each in dataclasses.fields(made)]
    return made, next((value for value in values if isinstance(value, RedisSetting)), None)


@pytest.mark.parametrize("kind", FAULTS)
async def test_every_fault_that_sets_something_says_what(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, setting = setting_of(kind)
    assert (setting is not None) == (kind in CHANGES)
    if setting is None:
        return
    done: list[tuple[str, str]] = []

    async def note(self: RedisSetting, value: str) -> None:
        done.append((self.name, value))

    monkeypatch.setattr(RedisSetting, "set", note)
    await made.inject()
    assert done == [CHANGES[kind](SETTINGS)]


def test_what_a_timeline_changes_is_told_once_for_each_value() -> None:
    found = changes(
        [
            fault("redis-maxclients"),
            fault("redis-output-buffer", limit_bytes=5),
            fault("crash"),
            fault("redis-output-buffer", limit_bytes=6),
            fault("redis-maxclients"),
        ]
    )
    assert found == {"maxclients": ["1"], NAME: ["pubsub 5 0 0", "pubsub 6 0 0"]}


def test_of_the_output_buffers_only_those_of_subscribers_are_a_faults() -> None:
    assert part(NAME, LIMITS.format(7)) == "pubsub 7 0 0"
    assert part("maxclients", "10000") == "10000"


class FakeRedis:
    """As much of a client as it takes."""

    def __init__(self, **settings: str) -> None:
        self.settings = settings

    def config_get(self, name: str) -> dict[str, str]:
        return {name: self.settings[name]} if name in self.settings else {}

    def config_set(self, name: str, value: str) -> None:
        self.settings[name] = value


@pytest.mark.parametrize(
    ("now", "then", "event"),
    [("1", "10000", "back"), ("10000", "10000", "untouched"), ("500", "500", "untouched"), ("10", "10", "untouched")],
)
def test_it_is_given_back_only_with_a_faults_value(now: str, then: str, event: str) -> None:
    redis = FakeRedis(maxclients=now)
    assert give_back(redis, "maxclients", "10000", ["1"])[0] == event
    assert redis.settings == {"maxclients": then}


def test_a_setting_that_this_redis_has_not() -> None:
    with pytest.raises(ValueError, match="no setting maxclients"):
        give_back(FakeRedis(), "maxclients", "10000", ["1"])


def test_what_was_not_given_back(tmp_path: Path) -> None:
    journal = tmp_path / "undo.jsonl"
    assert not_given_back(journal) == []
    lines = [
        {"t": 1, "ev": "keep", "redis": "redis://h/0", "setting": name, "had": "a", "given": ["b"]}
        for name in ("one", "two", "three")
    ]
    lines += [
        {"t": 2, "ev": "back", "setting": "one", "to": "a"},
        {"t": 2, "ev": "untouched", "setting": "two", "is": "c"},
        {"t": 2, "ev": "failed", "setting": "three", "why": "refused"},
    ]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"t": 3, "ev": "back", "sett')
    assert not_given_back(journal) == [Kept("redis://h/0", "three", "a", ("b",))]
