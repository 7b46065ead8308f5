"""Churn: `python -m fanlab.load.churn --url WS --protocol P --rate N --stay S --out FILE CHANNEL…`, its own process.

Clients that are no part of the account come to a node at a steady rate: each connects, subscribes to a channel of its
own and to the given ones, stays for a while (exponential, seeded) and goes, every second one without a goodbye. What
came of it is appended to FILE four times a second, and at the end:

    {"t", "ev": "churn", "came", "subscribed", "failed", "skipped", "here"}

`skipped` are those for whom there was no room (MOST_HERE). It ends at SIGTERM, with every connection.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Final

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from fanlab.clock import NS_PER_S, now_ns
from fanlab.load.protocols import ClientProtocol, protocol
from fanlab.seed import rng

MOST_HERE: Final = 500
SUBSCRIBED_WITHIN_S: Final = 5.0
TELL_S: Final = 0.25


class Churn:
    """All of them, at one node."""

    def __init__(self, url: str, speech: ClientProtocol, channels: Sequence[str], stay_s: float, draws: Random) -> None:
        self._url = url
        self._speech = speech
        self._channels = channels
        self._stay_s = stay_s
        self._draws = draws
        self._tasks: set[asyncio.Task[None]] = set()
        self.came = self.subscribed = self.failed = self.skipped = 0

    def come(self) -> None:
        """One more, if there is room."""
        if len(self._tasks) >= MOST_HERE:
            self.skipped += 1
            return
        self.came += 1
        stay_s = self._draws.expovariate(1 / self._stay_s) if self._stay_s else 0.0
        task = asyncio.create_task(self._visit(self.came, stay_s, politely=self.came % 2 == 0))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Everybody leaves."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def told(self) -> dict[str, int | str]:
        """The line for the file."""
        counts = {"came": self.came, "subscribed": self.subscribed, "failed": self.failed, "skipped": self.skipped}
        return {"t": now_ns(), "ev": "churn", **counts, "here": len(self._tasks)}

    async def _visit(self, number: int, stay_s: float, *, politely: bool) -> None:
        channels = [f"churn-{number}", *self._channels]
        try:
            connection = await connect(self._url, ping_interval=None, close_timeout=1, compression=None)
        except (OSError, TimeoutError, InvalidHandshake):
            self.failed += 1
            return
        try:
            async with asyncio.timeout(SUBSCRIBED_WITHIN_S):
                for frame in self._speech.subscribe(channels):
                    await connection.send(frame.decode())
                waiting = set(channels)
                while waiting:
                    frame = await connection.recv(decode=False)
                    waiting -= set(self._speech.confirmed(frame))
            self.subscribed += 1
            await asyncio.sleep(stay_s)
            if politely:
                await connection.close()
        except (OSError, TimeoutError, WebSocketException):
            self.failed += 1
        finally:
            connection.transport.abort()


async def serve(churn: Churn, rate_per_s: float, out: Path) -> None:
    """Until SIGTERM: one every 1/rate seconds, on schedule; those that are late come at once."""
    over = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, over.set)
    began_ns, due, tell_ns = now_ns(), 0, 0
    with out.open("a", encoding="utf-8", buffering=1) as file:
        while not over.is_set():
            while began_ns + due * NS_PER_S / rate_per_s <= now_ns():
                churn.come()
                due += 1
            if now_ns() >= tell_ns:
                file.write(json.dumps(churn.told()) + "\n")
                tell_ns = now_ns() + round(TELL_S * NS_PER_S)
            next_ns = min(tell_ns, began_ns + round(due * NS_PER_S / rate_per_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, (next_ns - now_ns()) / NS_PER_S)):
                    await over.wait()
        await churn.end()
        file.write(json.dumps(churn.told()) + "\n")


def main() -> int:
    """Churn until told to end."""
    parser = argparse.ArgumentParser(description="Clients that come and go; the fault subscriber-churn starts it.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--protocol", required=True)
    parser.add_argument("--rate", type=float, required=True, help="how many come in a second")
    parser.add_argument("--stay", type=float, required=True, help="seconds that each stays, on average")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("channels", nargs="*")
    asked = parser.parse_args()
    churn = Churn(asked.url, protocol(asked.protocol), asked.channels, asked.stay, rng(asked.seed, "churn"))
    asyncio.run(serve(churn, asked.rate, asked.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
