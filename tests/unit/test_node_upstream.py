"""The reference node's sessions with Redis: one after the other, and none of them in another's debt."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest


async def test_a_lost_session_leaves_no_request_to_cancel_to_the_next_one(
    node_modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested: list[int] = []
    second = asyncio.Event()

    async def breaks_off() -> None:
        await asyncio.sleep(0)
        raise ConnectionResetError("reset")

    async def session(_: Any, hub: Any) -> None:
        del hub
        task = asyncio.current_task()
        assert task is not None
        requested.append(task.cancelling())
        if len(requested) > 1:
            second.set()
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(breaks_off())

    monkeypatch.setattr(node_modules.upstream.Upstream, "_session", session)
    settings = node_modules.settings.from_environment({"REDIS_RETRY_MS": "1"})
    nothing: Any = lambda *_: None  # noqa: E731
    upstream = node_modules.upstream.Upstream(settings, node_modules.journal.NoJournal(), nothing, nothing, nothing)
    running = asyncio.create_task(upstream.run(SimpleNamespace()))
    await asyncio.wait_for(second.wait(), 30)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert requested == [0, 0]


async def test_ending_the_loop_ends_its_session(node_modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def session(_: Any, hub: Any) -> None:
        del hub
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(node_modules.upstream.Upstream, "_session", session)
    nothing: Any = lambda *_: None  # noqa: E731
    settings = node_modules.settings.from_environment({})
    upstream = node_modules.upstream.Upstream(settings, node_modules.journal.NoJournal(), nothing, nothing, nothing)
    running = asyncio.create_task(upstream.run(SimpleNamespace()))
    await asyncio.wait_for(begun.wait(), 30)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
