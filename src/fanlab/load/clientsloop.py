"""The clients engine's process: its loop, its clock, and the orders that it takes from its Locust worker."""

import asyncio
import os
import socket

from fanlab.clock import now_ns
from fanlab.ledger.stripe import StripeWriter
from fanlab.load.clients import ClientsEngine
from fanlab.load.config import LoadConfig
from fanlab.load.health import Health
from fanlab.load.stamped import StampedLoop
from fanlab.load.ticking import FLUSH_EVERY, HEALTH_EVERY, ticks
from fanlab.load.wire import LineReader, Message, encode

COUNTS_EVERY = 25  # ticks: as often as somebody looks at them
COMING_EVERY = 10  # while clients come: a run waits for the last one
_READ_BYTES = 1 << 16


def run_clients(config: LoadConfig, stripe: StripeWriter, control: socket.socket, allowed: int) -> None:
    """Do as told until `finish`, or until the worker is gone; `allowed` connections at most. Raises OSError."""
    with asyncio.Runner(loop_factory=StampedLoop) as runner:
        runner.run(_run(config, stripe, control, allowed))


async def _run(config: LoadConfig, stripe: StripeWriter, control: socket.socket, allowed: int) -> None:
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
    async for number, t_ns in ticks(health):
        engine.tick()
        told: list[Message] = []
        if number % HEALTH_EVERY == 0:
            engine.record(health.event(t_ns, engine.missed))
            if (measured := engine.probes.event(t_ns)) is not None:
                engine.record(measured)
            told.append(engine.batches())
        if number % FLUSH_EVERY == 0:
            engine.flush()
        if number % (COMING_EVERY if engine.coming else COUNTS_EVERY) == 0:
            told.append(engine.counts())
        for message in told:
            writer.write(encode(message))
