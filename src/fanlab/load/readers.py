"""The readers' process: `python -m fanlab.load.readers --config F --control SOCKET`. It reads the nodes' caches.

Open loop: a read is begun when it is due, whatever has become of those before it. Everything it learns is in
`journal/readers.stripe`. Orders come from fanlab's parent process; when that goes, the stripe is ended in order.
"""

import argparse
import asyncio
import heapq
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import uvloop

from fanlab.clock import NS_PER_S, boot_id, now_ns
from fanlab.ledger.records import ReadStatus
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.load.config import LoadConfig, read_config
from fanlab.load.health import Health
from fanlab.load.http_get import Getter, NoAnswer
from fanlab.load.limits import raise_open_files
from fanlab.load.reading import Due, Entry, Read, everything, schedule, verdict
from fanlab.load.ticking import FLUSH_EVERY, HEALTH_EVERY, ticks
from fanlab.load.wire import LineReader, Message, encode

STRIPE = "readers.stripe"
SWEEP_AT_ONCE = 8  # reads of one node
SWEEP_GIVE_UP = 16  # reads of one node that fail one after the other: it is gone, and so would be the rest's timeouts
_READ_BYTES = 1 << 16


class Readers:
    """All readers of a run. Belongs to one event loop."""

    def __init__(self, config: LoadConfig, stripe: StripeWriter) -> None:
        self._config = config
        self._stripe = stripe
        self._urls = {index: node.cache_url for index, node in enumerate(config.nodes) if node.cache_url}
        self._getters = {index: Getter(url, config.nodes[index].cache_server) for index, url in self._urls.items()}
        self._records = bytearray()
        self._under_way: set[asyncio.Task[None]] = set()
        self._counts = dict.fromkeys(ReadStatus, 0)

    async def read_all(self, start_ns: int, end_ns: int) -> None:
        """Begin every read when it is due; returns when the last one has ended."""
        plans: list[Iterator[Due]] = [
            schedule(self._config, reader, start_ns, end_ns) for reader in self._config.readers
        ]
        for due in heapq.merge(*plans, key=lambda due: due.intended_ns):
            await asyncio.sleep(max(0, due.intended_ns - now_ns()) / NS_PER_S)
            task = asyncio.create_task(self._read(due))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        if self._under_way:
            await asyncio.wait(set(self._under_way))

    async def sweep(self) -> None:
        """Read every entry at every node once."""
        wanted = everything(self._config)
        await asyncio.gather(*(self._sweep_node(node, found) for node, found in wanted.items()))

    def flush(self) -> None:
        """Write what was gathered. Raises OSError (a full disk)."""
        t_ns = now_ns()
        self._stripe.write(Kind.READS, self._records)
        self._records.clear()
        self._stripe.heartbeat(t_ns)

    def finish(self) -> Message:
        """End what is under way, and say how all reads ended."""
        for task in self._under_way:
            task.cancel()
        for getter in self._getters.values():
            getter.close()
        self.flush()
        return {"reads": {status.name.lower(): number for status, number in self._counts.items()}}

    async def _read(self, due: Due) -> None:
        self._add(await self._asked(due, sweep=False))

    async def _sweep_node(self, node: int, found: list[tuple[Entry, int]]) -> None:
        queue = iter(found)
        failed_in_turn = 0

        async def one_after_the_other() -> None:
            nonlocal failed_in_turn
            for entry, timeout_ns in queue:
                due = Due(now_ns(), node, entry, timeout_ns)
                if failed_in_turn >= SWEEP_GIVE_UP:
                    read = Read(due.intended_ns, due.intended_ns, now_ns(), entry, node, ReadStatus.FAILED, sweep=True)
                else:
                    read = await self._asked(due, sweep=True)
                failed_in_turn = failed_in_turn + 1 if read.status is ReadStatus.FAILED else 0
                self._add(read)

        await asyncio.gather(*(one_after_the_other() for _ in range(SWEEP_AT_ONCE)))

    async def _asked(self, due: Due, *, sweep: bool) -> Read:
        began_ns = now_ns()
        path = urlsplit(self._urls[due.node].replace("{key}", quote(due.entry.key, safe=""))).path
        try:
            async with asyncio.timeout(due.timeout_ns / NS_PER_S):
                answer = await self._getters[due.node].get(path)
        except (NoAnswer, TimeoutError):
            return Read(due.intended_ns, began_ns, now_ns(), due.entry, due.node, ReadStatus.FAILED, sweep=sweep)
        status, seq = verdict(due.entry, self._config.run_tag, answer.status, answer.body)
        times = (due.intended_ns, answer.asked_ns, answer.answered_ns)
        return Read(*times, due.entry, due.node, status, seq, sweep=sweep)

    def _add(self, read: Read) -> None:
        self._records += read.packed()
        self._counts[read.status] += 1


def main() -> int:
    """Read until told to end; 0 when the stripe is complete."""
    parser = argparse.ArgumentParser(description="Reads the nodes' caches; fanlab starts it.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--control", type=Path, required=True, help="the parent's Unix socket")
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    raise_open_files()
    header = {"role": "readers", "worker": 0, "pid": os.getpid(), "boot_id": boot_id(), "started_ns": now_ns()}
    try:
        with StripeWriter(Path(config.journal) / STRIPE, header) as stripe:
            uvloop.run(_run(config, stripe, arguments.control))
    except OSError as error:
        sys.stderr.write(f"{error}\n")  # the parent sees the line end, and quotes this
        return 1
    return 0


async def _run(config: LoadConfig, stripe: StripeWriter, control: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(control)
    writer.write(encode({"ev": "hello", "role": "readers", "index": 0, "pid": os.getpid()}))
    readers = Readers(config, stripe)
    ticker = asyncio.create_task(_tick(readers, stripe))
    orders = asyncio.create_task(_obey(readers, reader, writer))
    try:
        await asyncio.wait((ticker, orders), return_when=asyncio.FIRST_COMPLETED)
        if ticker.done():
            ticker.result()  # raises what ended it: a full disk
        last = orders.result()
    finally:
        ticker.cancel()
        orders.cancel()
    footer = {"reason": "orphaned" if last is None else "finished", **readers.finish()}
    stripe.close(footer)
    writer.write(encode({"ev": "ended", "worker": 0, "role": "readers", **footer}))
    if last == "leave":
        await reader.read(1)  # `quit`, or the parent's end: to go before would look like a death
    writer.close()


async def _obey(readers: Readers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str | None:
    """Do as told until `leave` or `quit`, which it returns, or until the parent is gone (None)."""
    lines = LineReader()
    work: set[asyncio.Task[None]] = set()
    try:
        while data := await reader.read(_READ_BYTES):
            for message in lines.feed(data):
                match message["op"]:
                    case "begin":
                        span = int(message["publish_start_ns"]), int(message["publish_end_ns"])
                        work.add(asyncio.create_task(readers.read_all(*span)))
                    case "sweep":
                        await asyncio.gather(*work)  # what was begun in time is heard to its end
                        await readers.sweep()
                        readers.flush()
                        writer.write(encode({"ev": "swept"}))
                    case "leave" | "quit":
                        return str(message["op"])
        return None
    finally:
        for task in work:
            task.cancel()


async def _tick(readers: Readers, stripe: StripeWriter) -> None:
    """The process's clock: flush, and measure how late this very clock comes."""
    health = Health()
    async for number, t_ns in ticks(health):
        if number % HEALTH_EVERY == 0:
            stripe.events([health.event(t_ns, missed=0)])
        if number % FLUSH_EVERY == 0:
            readers.flush()


if __name__ == "__main__":
    sys.exit(main())
