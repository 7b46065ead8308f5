"""Malformed handshakes, frames and messages at the reference node; and whether a node that leaks would be told."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import free_port
from support.bad_peers import ATTACKS, attack
from support.node_process import NodeProcess, wait_until
from support.siege import GROWTH_BYTES, Held, assail_all, must_be_bounded, siege

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

FEW = 5 * len(ATTACKS)  # of the 300 of `make fuzz`

# A server that reads what comes and forgets it, or keeps some of its memory for every connection.
SERVER = """
import asyncio, sys
kept = []
async def serve(reader, writer):
    kept.append(bytearray(b"x") * int(sys.argv[2]))
    while await reader.read(1 << 16):
        pass
    writer.close()
async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1])) as server:
        await server.serve_forever()
asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["websockets", "picows"])
async def test_the_node_withstands_them_and_serves_the_others(redis_server: str, tmp_path: Path, kind: str) -> None:
    node = NodeProcess(free_port(), redis_server, tmp_path, kind=kind)
    try:
        node.start()
        served = await siege(node, range(FEW))
    finally:
        node.kill()
    assert served.sent > 50
    assert set(served.kinds) == {attack(number).name for number in range(len(ATTACKS))}


def test_a_number_is_an_attack() -> None:
    assert [attack(number) for number in range(FEW)] == [attack(number) for number in range(FEW)]


@contextmanager
def serving(keeps_bytes: int) -> Iterator[tuple[int, int]]:
    """Such a server's port and pid."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port), str(keeps_bytes)])
    try:
        wait_until(lambda: _accepts(port), "the server")
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(("keeps_bytes", "leaks"), [(0, False), (2 * GROWTH_BYTES // FEW, True)])
def test_memory_kept_for_every_attack_is_told_and_noise_is_not(keeps_bytes: int, *, leaks: bool) -> None:
    with serving(keeps_bytes) as (port, pid):
        assail_all(port, range(10))
        before = Held.by(pid)
        assail_all(port, range(FEW))
        wait_until(lambda: Held.by(pid).files <= before.files, "connections closed")
        if leaks:
            with pytest.raises(AssertionError, match=r"it has grown by \d"):
                must_be_bounded(before, Held.by(pid))
        else:
            must_be_bounded(before, Held.by(pid))


def test_a_connection_that_stays_open_is_told() -> None:
    with pytest.raises(AssertionError, match="2 more open files"):
        must_be_bounded(Held(0, 10), Held(GROWTH_BYTES, 12))
