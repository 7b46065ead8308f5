"""What the load's own processes are told in their environment: a container has nothing of ours else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fanlab.load import bulk
from fanlab.load.session import LoadSession


@pytest.mark.parametrize(("value", "told"), [("python", {bulk.VARIABLE: "python"}), (None, {})])
async def test_who_receives_is_decided_where_the_run_was_started(
    monkeypatch: pytest.MonkeyPatch, value: str | None, told: dict[str, str]
) -> None:
    started: list[tuple[Any, ...]] = []

    async def start_helper(*words: Any) -> None:
        started.append(words)

    monkeypatch.delenv(bulk.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(bulk.VARIABLE, value)
    load = object.__new__(LoadSession)
    load._backend = SimpleNamespace(python="python", start_helper=start_helper)  # type: ignore[assignment]
    load._rundir = SimpleNamespace(logs=Path("logs"))  # type: ignore[assignment]
    load._folder = Path("private")
    await load._start_helper("load-1", "fanlab.load.worker", ["--index", "1"])
    ((unit, argv, env, log),) = started
    assert (unit, env, log) == ("load-1", told, Path("logs/load-1.log"))
    assert argv[:3] == ["python", "-m", "fanlab.load.worker"]
    assert argv[-2:] == ["--index", "1"]
    assert argv[3:-2] == ["--config", "private/load.json", "--control", "private/control"]
