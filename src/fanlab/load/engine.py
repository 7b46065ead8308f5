"""An engine process: `python -m fanlab.load.engine --role clients|publishers --config F --worker N --fd N`.

The Locust worker that started it gives orders as JSON lines over the socket `--fd`. When that closes, the engine ends
itself in order, so that a dead worker costs no evidence.
"""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanlab.clock import NS_PER_S, boot_id, follow, now_ns
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.load import bulk
from fanlab.load.clients import ClientsEngine
from fanlab.load.config import LoadConfig, read_config
from fanlab.load.health import TICK_NS, Health
from fanlab.load.limits import raise_open_files
from fanlab.load.publisher import PublishersEngine
from fanlab.load.stamped import StampedLoop
from fanlab.load.wire import LineReader, Message, encode

FLUSH_EVERY = 5  # ticks of 10 ms
COUNTS_EVERY = 15
HEALTH_EVERY = 100
_READ_BYTES = 1 << 16


def main() -> int:
    """Run one engine until it is told to end; 0 when its stripe is complete."""
    parser = argparse.ArgumentParser(description="One of fanlab's load engines; its Locust worker starts it.")
    parser.add_argument("--role", choices=("clients", "publishers"), required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--worker", type=int, required=True)
    parser.add_argument("--fd", type=int, required=True, help="a connected socket to the Locust worker")
    parser.add_argument(
        "--clock-ahead", type=int, default=0, help="ns by which this boot's clock is ahead of the run's"
    )
    arguments = parser.parse_args()
    follow(arguments.clock_ahead)
    config = read_config(arguments.config)
    allowed = raise_open_files()
    with socket.socket(fileno=arguments.fd) as control:
        try:
            with open_stripe(config, arguments.role, arguments.worker, arguments.clock_ahead) as stripe:
                if arguments.role == "clients":
                    with asyncio.Runner(loop_factory=StampedLoop) as runner:
                        runner.run(_run_clients(config, stripe, control, allowed))
                else:
                    PublishersEngine(config, stripe, control).run()
        except OSError as error:
            return _fail(control, error)
    return 0


class NoStripe(StripeWriter):
    """For plain Locust, which keeps no ledger: an endless test would fill the disk with one."""

    def __init__(self) -> None:
        """Opens nothing."""

    def write(self, kind: Kind, payload: bytes | bytearray | memoryview) -> None:
        """Nothing."""

    def close(self, footer: Mapping[str, Any] | None = None) -> None:
        """Nothing."""


def open_stripe(config: LoadConfig, role: str, worker: int, clock_ahead_ns: int = 0) -> StripeWriter:
    """The engine's own journal, its START frame written; NoStripe if it is to keep none. Raises OSError."""
    if not config.journal:
        return NoStripe()
    header = {"role": role, "worker": worker, "pid": os.getpid(), "boot_id": boot_id(), "started_ns": now_ns()}
    if role == "clients":
        header["receive"] = bulk.find()[1]  # "compiled", or why not
    if clock_ahead_ns:
        header["clock_ahead_ns"] = clock_ahead_ns  # taken off every time in it
    return StripeWriter(Path(config.journal) / f"{role}-{worker}.stripe", header)


async def _run_clients(config: LoadConfig, stripe: StripeWriter, control: socket.socket, allowed: int) -> None:
    engine = ClientsEngine(config, stripe, asyncio.get_running_loop(), allowed)
    reader, writer = await asyncio.open_connection(sock=control)
    writer.write(encode({"ev": "ready", "pid": os.getpid()}))
    ticker = asyncio.create_task(_tick(engine, writer))
    orders = asyncio.create_task(_obey(engine, reader, writer))
    try:
        await asyncio.wait((ticker, orders), return_when=asyncio.FIRST_COMPLETED)
        if ticker.done():
            ticker.result()  # raises what ended it: a full disk
        footer = await engine.finish()
    finally:
        ticker.cancel()
        orders.cancel()
    reason = "finished" if orders.result() else "orphaned"
    stripe.close({"reason": reason, **footer})
    writer.write(encode(engine.counts()))
    writer.write(encode(engine.batches()))
    writer.write(encode({"ev": "ended", "reason": reason, **footer}))
    if reason == "finished":
        await writer.drain()
    writer.close()


async def _obey(engine: ClientsEngine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Pass orders on until `finish` (True) or until the worker is gone (False)."""
    lines = LineReader()
    while data := await reader.read(_READ_BYTES):
        t_ns = now_ns()
        for message in lines.feed(data):
            if message["op"] == "finish":
                return True
            if message["op"] == "clock":
                writer.write(encode({"ev": "clock", "id": message["id"], "t1": t_ns, "t2": now_ns()}))
            else:
                engine.command(message)
    return False


async def _tick(engine: ClientsEngine, writer: asyncio.StreamWriter) -> None:
    """The engine's clock: flush, tell totals, and measure how late this very clock comes."""
    health = Health()
    health.pauses.watch()
    due_ns = now_ns()
    ticks = 0
    while True:
        due_ns += TICK_NS
        await asyncio.sleep(max(0, due_ns - now_ns()) / NS_PER_S)
        t_ns = now_ns()
        health.tick(due_ns, t_ns)
        engine.tick()
        due_ns = max(due_ns, t_ns - TICK_NS)  # after a stall, do not run after every tick that was missed
        ticks += 1
        told: list[Message] = []
        if ticks % HEALTH_EVERY == 0:
            engine.record(health.event(t_ns, engine.missed))
            if (measured := engine.probes.event(t_ns)) is not None:
                engine.record(measured)
            told.append(engine.batches())
        if ticks % FLUSH_EVERY == 0:
            engine.flush()
        if ticks % COUNTS_EVERY == 0:
            told.append(engine.counts())
        for message in told:
            writer.write(encode(message))


def _fail(control: socket.socket, error: OSError) -> int:
    """Tell the worker why this engine cannot go on: a full disk, as a rule."""
    message = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    sys.stderr.write(f"{message}\n")
    try:
        control.settimeout(1)
        control.sendall(encode({"ev": "fatal", "error": message}))
    except OSError as gone:
        sys.stderr.write(f"the worker could not be told: {gone}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
