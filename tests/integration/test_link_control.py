"""Who controls a link: what is said of orders that make no sense, and how a link ends."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fanlab.errors import EnvironmentFailure, HarnessError
from fanlab.link.client import LinkClient
from fanlab.link.server import serve
from support.link_process import (
    DEADLINE_S,
    PROXY,
    LinkProcess,
    Upstream,
    dial,
    ends,
    joined,
    running_link,
    upstream,
)

pytestmark = pytest.mark.system


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[LinkProcess]:
    async with running_link(tmp_path / "link") as running:
        yield running


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream() as listening:
        yield listening


async def test_orders_that_make_no_sense(link: LinkProcess, server: Upstream) -> None:
    await link.client.proxy(PROXY, server.address)
    await link.client.add(PROXY, "x", "hold")
    for order, said in (
        (link.client.proxy(PROXY, server.address), "there is a proxy p already"),
        (link.client.proxy("q", "6379"), "'6379' is no host:port"),
        (link.client.add("q", "x", "hold"), "there is no proxy q"),
        (link.client.add(PROXY, "x", "drop"), "the proxy p has a toxic x already"),
        (link.client.add(PROXY, "y", "latency"), "latency needs the attribute latency_ms"),
        (link.client.remove(PROXY, "y"), "the proxy p has no toxic y"),
        (link.client.reset(PROXY, 2), "share must be a number from 0 to 1, not 2"),
    ):
        with pytest.raises(HarnessError) as raised:
            await order
        assert said in raised.value.message
    state = (await link.client.state())[PROXY]
    assert [toxic.name for toxic in state.toxics] == ["x"]


async def test_it_ends_with_who_controls_it(tmp_path: Path, server: Upstream) -> None:
    async with running_link(tmp_path / "link") as link:
        client = dial(await link.client.proxy(PROXY, server.address))
        accepted = server.accept()
    with client, accepted:  # by now it has ended, with status 0
        assert ends(client) == "FIN"
        assert ends(accepted) == "FIN"
    assert [row["why"] for row in link.events("close")] == ["link-ended"]
    assert not (tmp_path / "link" / "control").exists()


async def test_it_ends_when_its_controller_is_killed(tmp_path: Path) -> None:
    link = LinkProcess(tmp_path / "link")
    process = link.spawn()
    try:
        async with link.client:
            assert link.client._writer is not None
            link.client._writer.transport.abort()  # no good-bye
            assert await asyncio.to_thread(process.wait, DEADLINE_S) == 0
            with pytest.raises(EnvironmentFailure, match="has ended"):
                await link.client.state()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
async def test_signals_end_it_and_the_controller_is_told(tmp_path: Path, server: Upstream, signum: int) -> None:
    link = LinkProcess(tmp_path / "link")
    process = link.spawn()
    try:
        async with link.client:
            await link.client.proxy(PROXY, server.address)
            async with joined(link, server):
                process.send_signal(signum)
                assert await asyncio.to_thread(process.wait, DEADLINE_S) == (0 if signum == signal.SIGTERM else -signum)
                with pytest.raises(EnvironmentFailure, match="has ended"):
                    await link.client.state()
        assert len(link.events("open")) <= 1
        assert [row["why"] for row in link.events("close")] == (["link-ended"] if signum == signal.SIGTERM else [])
    finally:
        process.kill()
        process.wait()


async def test_a_link_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match=r"the link did not start within 0\.05 s: No such file or directory"):
        async with LinkClient(tmp_path / "control", deadline_s=0.05):
            pass


def test_a_journal_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    link = LinkProcess(tmp_path / "link")
    (tmp_path / "link" / "link.jsonl").mkdir()
    process = link.spawn()
    try:
        assert process.wait(DEADLINE_S) == 1
        assert "the link cannot run: [Errno 21] Is a directory" in link.log
    finally:
        process.kill()
        process.wait()


async def test_a_disk_that_gets_full_ends_it(tmp_path: Path, server: Upstream) -> None:
    link = LinkProcess(tmp_path / "link")
    (tmp_path / "link" / "link.jsonl").symlink_to("/dev/full")
    process = link.spawn()
    try:
        async with link.client:
            await link.client.proxy(PROXY, server.address)
            with contextlib.suppress(EnvironmentFailure):  # it may still be able to answer
                await link.client.add(PROXY, "cut", "hold")
            assert await asyncio.to_thread(process.wait, DEADLINE_S) == 1
        assert "link.jsonl cannot be written: No space left on device" in link.log
    finally:
        process.kill()
        process.wait()


async def test_it_has_one_controller(link: LinkProcess) -> None:
    assert await link.client.state() == {}
    with socket.socket(socket.AF_UNIX) as other, pytest.raises(ConnectionRefusedError):
        other.connect(str(link.folder / "control"))


async def test_it_ends_when_nobody_comes_to_control_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fanlab.link.server._CONTROLLER_WITHIN_S", 0.01)
    assert await serve(tmp_path / "control", "127.0.0.1", tmp_path / "link.jsonl", 1) == 1
    assert capsys.readouterr().err == "nobody has come to control this link\n"
