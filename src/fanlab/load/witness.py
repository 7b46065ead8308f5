"""The witness: `python -m fanlab.load.witness --out STRIPE --run-tag N --streams N CHANNEL…`, its own process.

One connection straight to Redis (its URL is in FANLAB_REDIS_URL, for it may hold a password), which subscribes to
every channel of the plan and journals what Redis sent, in Redis' own order:

    START      role "witness", pid, boot_id, started_ns
    WITNESS    records.WITNESS, one per copy
    EVENTS     {"t", "ev": "witness", "state": "up"}                        every channel is confirmed
               {"t", "ev": "witness", "state": "down", "good", "error"}     lost; all published up to `good` is there
    HEARTBEAT  all that Redis had published before is in this stripe
    END        reason, copies, foreign, damaged, cut (how often it was)

It is one thread with `select`. It ends in order at SIGTERM, and when the process that started it is gone.
"""

import argparse
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fanlab.clock import NS_PER_MS, NS_PER_S, boot_id, now_ns
from fanlab.errors import FanlabError
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.ledger.witnessname import WITNESS_NAME
from fanlab.load.hearing import Hearing
from fanlab.load.redis_link import RedisLink, parse_redis_url

URL_VARIABLE: Final = "FANLAB_REDIS_URL"
TICK_NS: Final = 50 * NS_PER_MS
LAST_PING_NS: Final = 500 * NS_PER_MS  # to hear that everything has come, at the end
FLUSH_BYTES: Final = 1 << 16


class WitnessProcess:
    """The connection, the journal and the clock round a Hearing."""

    def __init__(self, redis_url: str, stripe: StripeWriter, hearing: Hearing, wake: socket.socket) -> None:
        """`wake` is readable once it is time to end."""
        self._stripe = stripe
        self._hearing = hearing
        self._wake = wake
        self._link = RedisLink(
            parse_redis_url(redis_url),
            WITNESS_NAME,
            on_open=lambda preamble: self._link.send(hearing.opened(preamble), now_ns()),
            on_reply=hearing.take,
            on_break=lambda _, t_ns: hearing.broke(t_ns, self._link.error),
            return_at_once=True,
        )
        self._told = ""
        self._heartbeat_ns = 0

    def run(self) -> Mapping[str, int | str]:
        """Until asked to end, or until the parent is gone; returns what the END frame says. Raises OSError."""
        parent = os.getppid()
        tick_ns = now_ns() + TICK_NS
        while not (asked := self._wait(tick_ns)):
            t_ns = now_ns()
            if t_ns >= tick_ns:
                tick_ns = max(tick_ns + TICK_NS, t_ns)
                self._ping(t_ns)
                self._flush()
                if os.getppid() != parent:
                    break
        self._hear_the_last()
        footer = self._hearing.ended(now_ns())
        self._flush()
        self._link.close()
        return {"reason": "asked" if asked else "orphaned", **footer}

    def _wait(self, until_ns: int, *, ending: bool = False) -> bool:
        """Take what comes until something is due; True once asked to end."""
        t_ns = now_ns()
        self._link.poll(t_ns)
        due_ns = min(at_ns for at_ns in (until_ns, self._link.next_poll_ns()) if at_ns is not None)
        sock = self._link.socket
        readers = ([] if ending else [self._wake]) + ([] if sock is None else [sock])
        writers = [sock] if sock is not None and self._link.wants_write else []
        readable, writable, _ = select.select(readers, writers, [], max(0, due_ns - now_ns()) / NS_PER_S)
        if writable:
            self._link.writable(now_ns())
        if sock is not None and sock in readable and sock is self._link.socket:
            self._link.readable(now_ns)
            if self._hearing.refusal is not None:
                self._link.drop(now_ns(), f"Redis said {self._hearing.refusal}")
            if len(self._hearing.records) >= FLUSH_BYTES:
                self._flush()
        self._tell()
        return self._wake in readable

    def _hear_the_last(self) -> None:
        """One more PING, so that `good_ns` covers all that was published before the end was asked for."""
        t_ns = now_ns()
        self._ping(t_ns)
        while self._hearing.up and self._hearing.pings and now_ns() < t_ns + LAST_PING_NS:
            self._wait(t_ns + LAST_PING_NS, ending=True)

    def _ping(self, t_ns: int) -> None:
        if self._hearing.up:
            self._link.send(self._hearing.ping(t_ns), t_ns)

    def _flush(self) -> None:
        """Records before events: one that says `up` is never ahead of a copy that came before it."""
        hearing = self._hearing
        good_ns = hearing.good_ns
        self._stripe.write(Kind.WITNESS, hearing.records)
        hearing.records.clear()
        if hearing.events:
            self._stripe.events(hearing.events)
            hearing.events.clear()
        if hearing.up and good_ns > self._heartbeat_ns:
            self._stripe.heartbeat(good_ns)
            self._heartbeat_ns = good_ns

    def _tell(self) -> None:
        """Each new trouble once, in the log."""
        trouble = "" if self._link.up else self._link.error
        if trouble and trouble != self._told:
            sys.stderr.write(f"no connection to Redis: {trouble}\n")
        self._told = trouble


def main() -> int:
    """Run until ended; 0 with a complete stripe, 1 if it cannot be written or Redis' address cannot be used."""
    parser = argparse.ArgumentParser(description="fanlab's own subscriber at Redis; a run starts it.")
    parser.add_argument("--out", type=Path, required=True, help="the stripe to write, which must not exist")
    parser.add_argument("--run-tag", type=int, required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("channels", nargs="+")
    arguments = parser.parse_args()
    wake, waker = socket.socketpair()
    waker.settimeout(0)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGTERM, lambda *_: None)  # the wake-up descriptor does it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for whoever started us
    header = {"role": "witness", "pid": os.getpid(), "boot_id": boot_id(), "started_ns": now_ns()}
    hearing = Hearing(arguments.channels, arguments.run_tag, arguments.streams)
    try:
        with StripeWriter(arguments.out, header) as stripe:
            stripe.close(WitnessProcess(os.environ[URL_VARIABLE], stripe, hearing, wake).run())
    except (OSError, FanlabError) as error:
        sys.stderr.write(f"{error.message if isinstance(error, FanlabError) else error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
