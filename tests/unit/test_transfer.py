"""Journals over a connection: whole, or not at all, and both ends know which."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanlab.load.joining import MEMBER_BYTES, Incoming
from fanlab.load.transfer import CHUNK_BYTES, NotStored, receive_file, send_file
from support.examples import examples
from support.streams import Streams, connected

NAME = "clients-2.stripe"


async def receiving(streams: Streams, folder: Path, *names: str) -> str:
    reader, writer = streams
    moved: list[int] = []
    return await receive_file(
        reader,
        Incoming(reader, MEMBER_BYTES),
        writer,
        lambda name: folder / name if name in (names or (NAME,)) else None,
        lambda: moved.append(1),
    )


async def sending(streams: Streams, path: Path) -> None:
    await send_file(path, Incoming(streams[0], MEMBER_BYTES), streams[1])


async def both(receiver: Awaitable[Any], sender: Awaitable[Any]) -> tuple[Any, Any]:
    async with asyncio.timeout(20):
        found = await asyncio.gather(receiver, sender, return_exceptions=True)
    return found[0], found[1]


def folders(tmp_path: Path, data: bytes, name: str = NAME) -> tuple[Path, Path]:
    """A file to send, and a folder to receive it in."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (there / name).write_bytes(data)
    return there / name, here


class Spoiling:
    """A network that changes one byte of what is sent, once the given string of bytes has gone by."""

    def __init__(self, writer: asyncio.StreamWriter, spoil: bytes, by: bytes) -> None:
        self._write = writer.write
        self._spoil, self._by = spoil, by
        writer.write = self  # type: ignore[method-assign,assignment]

    def __call__(self, data: bytes) -> None:
        self._write(bytes(data).replace(self._spoil, self._by))


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=2000), st.integers(0, 3 * CHUNK_BYTES).map(lambda n: b"\n{" * n)))
def test_any_file_comes_over_as_it_is(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path, here = folders(tmp_path_factory.mktemp("any"), data)

    async def move() -> None:
        async with connected() as (served, client):
            assert await both(receiving(served, here), sending(client, path)) == (NAME, None)

    asyncio.run(move())
    assert [(one.name, one.read_bytes()) for one in here.iterdir()] == [(NAME, data)]


async def test_several_files_follow_each_other_on_one_connection(tmp_path: Path) -> None:
    path, here = folders(tmp_path, b"one" * 1000)
    other = path.with_name("publishers-2.stripe")
    other.write_bytes(b"two" * 1000)
    async with connected() as (served, client):
        incoming = Incoming(client[0], MEMBER_BYTES)
        for one in (path, other):
            both_ends = receiving(served, here, NAME, other.name), send_file(one, incoming, client[1])
            assert (await both(*both_ends))[1] is None
    assert {one.name for one in here.iterdir()} == {NAME, other.name}


@pytest.mark.parametrize(
    ("spoil", "by"), [(b"evidence", b"evidenCe"), (b'"crc":', b'"crc":9')], ids=["a byte of it", "its checksum"]
)
async def test_a_file_that_was_changed_on_its_way_is_refused_and_told(tmp_path: Path, spoil: bytes, by: bytes) -> None:
    path, here = folders(tmp_path, b"x" * 5000 + b"evidence" + b"y" * 5000)
    async with connected() as (served, client):
        Spoiling(client[1], spoil, by)
        receiver, sender = await both(receiving(served, here), sending(client, path))
    for error in (receiver, sender):
        assert isinstance(error, NotStored)
        assert f"{NAME} arrived damaged: its CRC is " in str(error)
    assert list(here.iterdir()) == [], "a journal with a hole nobody knows of is worse than none"


async def test_a_sender_that_leaves_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    path, here = folders(tmp_path, b"z" * 400_000)

    async def leaving(streams: Streams) -> None:
        plain, sent = streams[1].write, 0

        def write(data: bytes) -> None:
            nonlocal sent
            sent += len(data)
            if sent < 300_000:
                plain(data)
            else:
                streams[1].close()

        streams[1].write = write  # type: ignore[method-assign,assignment]
        await sending(streams, path)

    async with connected() as (served, client):
        receiver, _ = await both(receiving(served, here), leaving(client))
    assert isinstance(receiver, ConnectionResetError)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["clients-3.stripe", "manifest.json", "load.json"])
async def test_a_file_that_nobody_wants_is_refused(tmp_path: Path, name: str) -> None:
    path, here = folders(tmp_path, b"x", name)
    async with connected() as (served, client):
        receiver, sender = await both(receiving(served, here), sending(client, path))
    assert "is no journal of this worker's" in str(receiver)
    assert "is no journal of this worker's" in str(sender)


async def test_what_is_here_is_not_overwritten(tmp_path: Path) -> None:
    path, here = folders(tmp_path, b"new")
    (here / NAME).write_bytes(b"old")
    async with connected() as (served, client):
        receiver, sender = await both(receiving(served, here), sending(client, path))
    assert "is here already" in str(receiver)
    assert "is here already" in str(sender)
    assert (here / NAME).read_bytes() == b"old"


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path, here = folders(tmp_path, b"x")
    async with connected() as (served, client):
        receiver, sender = await both(receiving(served, here / "nowhere"), sending(client, path))
    for error in (receiver, sender):
        assert "cannot be stored: No such file or directory" in str(error)


async def test_a_receiver_that_hangs_up_is_told(tmp_path: Path) -> None:
    path, _ = folders(tmp_path, b"x")
    async with connected() as (served, client):
        served[1].close()
        with pytest.raises((NotStored, OSError)):
            await sending(client, path)
