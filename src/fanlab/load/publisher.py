"""The publishers engine: one thread, one `select`, one connection to Redis.

It is no asyncio program on purpose: uvloop's timers tick in milliseconds, `select` wakes within 0.1 ms and
does not spin.
A slot's INTENT is in the stripe before its message is sent, so that even SIGKILL cannot make a message unaccounted for.
"""

import os
import select
import socket
from collections.abc import Callable, Sequence

import numpy as np

from fanlab.clock import NS_PER_MS, now_ns
from fanlab.ledger.records import INTENT, OUTCOME, TOKEN_LENGTH, Status, Token, encode_token
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.load.config import LoadConfig
from fanlab.load.health import Health
from fanlab.load.histogram import Histogram
from fanlab.load.payload import Payload, payloads
from fanlab.load.publishing import InFlight, Outcome, Schedule, Slot, stream_offsets
from fanlab.load.redis_link import RedisLink, parse_redis_url
from fanlab.load.wire import LineReader, Message, encode

FLUSH_NS = 50 * NS_PER_MS
COUNTS_EVERY = 5  # flushes: as often as somebody looks at them
COMING_EVERY = 2  # until the epoch: a run waits for the last stream
HEALTH_EVERY = 20
BATCH = 64  # slots that share one INTENTS frame and one write: a fifth of a millisecond's work
_READ_BYTES = 1 << 16


class PublishersEngine:
    """All publishers of one process."""

    def __init__(self, config: LoadConfig, stripe: StripeWriter, control: socket.socket) -> None:
        self._config = config
        self._stripe = stripe
        self._control = control
        self._lines = LineReader()
        self._health = Health(FLUSH_NS)
        self._in_flight = InFlight(self._ended)
        self._link = RedisLink(
            parse_redis_url(config.redis_url),
            f"fanlab-publishers-{os.getpid()}",
            on_open=self._in_flight.preamble,
            on_reply=self._in_flight.reply,
            on_break=self._in_flight.broken,
        )
        self._streams: dict[int, int | None] = {}  # from when on, where not from the start
        self._schedule: Schedule | None = None
        self._start_ns = self._end_ns = 0
        self._outcomes = bytearray()
        self._latencies_us: list[list[int]] = [[] for _ in config.channels]
        self._failures = [0] * len(config.channels)
        self._tally = dict.fromkeys(Status, 0)
        self._handed_over = [0] * len(config.channels)  # messages tried, by channel: what clients are owed
        self._channels = config.stream_channels()
        self._told_published = False
        channels = [p.channel for p in config.publishers for _ in range(p.count)]
        self._commands = [_command(*of_stream) for of_stream in zip(channels, payloads(config), strict=True)]
        self._timeouts_ns = [p.timeout_ns for p in config.publishers for _ in range(p.count)]

    def run(self) -> None:
        """Until told to finish, or until the worker is gone. Raises OSError (a full disk)."""
        self._control.settimeout(0)
        self._health.pauses.watch()
        self._tell({"ev": "ready", "pid": os.getpid()})
        reason: str | None = None
        flush_ns = now_ns() + FLUSH_NS
        flushes = 0
        while reason is None:
            t_ns = now_ns()
            self._link.poll(t_ns)
            self._publish()
            self._in_flight.expire(now_ns())
            if t_ns >= flush_ns:
                self._health.tick(flush_ns, t_ns)
                flush_ns = max(flush_ns + FLUSH_NS, t_ns)
                flushes += 1
                self._periodic(t_ns, flushes)
            reason = self._wait(flush_ns)
        self._finish(reason)

    def _wait(self, flush_ns: int) -> str | None:
        """Sleep until something is due or has come; says why to end, once there is a reason."""
        candidates = (flush_ns, self._next_slot_ns(), self._in_flight.next_expiry_ns(), self._link.next_poll_ns())
        due_ns = min(at_ns for at_ns in candidates if at_ns is not None)
        sock = self._link.socket
        readers: list[socket.socket] = [self._control] if sock is None else [self._control, sock]
        writers = [sock] if sock is not None and self._link.wants_write else []
        readable, writable, _ = select.select(readers, writers, [], max(0, due_ns - now_ns()) / 1e9)
        if writable:
            self._link.writable(now_ns())
        if sock is not None and sock in readable:
            self._link.readable(now_ns)
        return self._obey() if self._control in readable else None

    def _obey(self) -> str | None:
        try:
            data = self._control.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return "orphaned"
        t_ns = now_ns()
        for message in self._lines.feed(data):
            match message["op"]:
                case "clock":
                    self._tell({"ev": "clock", "id": message["id"], "t1": t_ns, "t2": now_ns()})
                case "publish":
                    in_ns = message.get("in_ns")  # from now; none: with the start
                    self._add(int(message["stream"]), None if in_ns is None else t_ns + int(in_ns))
                case "stop":
                    self._streams.pop(int(message["stream"]), None)
                    if self._schedule is not None:
                        self._schedule.remove(int(message["stream"]))
                case "epoch":
                    self._start_ns = int(message["publish_start_ns"])
                    self._end_ns = int(message["publish_end_ns"])
                    self._schedule = Schedule(self._start_ns, self._end_ns)
                    for stream, from_ns in sorted(self._streams.items()):
                        self._schedule.add(stream, stream_offsets(self._config, stream), from_ns)
                case "finish":
                    return "finished"
        return None

    def _add(self, stream: int, from_ns: int | None) -> None:
        self._streams[stream] = from_ns
        if self._schedule is not None:
            self._schedule.add(stream, stream_offsets(self._config, stream), from_ns)

    def _next_slot_ns(self) -> int | None:
        return self._schedule.next_ns() if self._schedule is not None else None

    def _publish(self) -> None:
        """Send what is due, a batch at most: replies are read between batches."""
        if self._schedule is None:
            return
        slots = self._schedule.due(now_ns(), BATCH)
        if not slots:
            return
        self._stripe.write(
            Kind.INTENTS, b"".join([INTENT.pack(slot.intended_ns, slot.seq, slot.stream, 0) for slot in slots])
        )
        t_ns = now_ns()
        missed = [slot for slot in slots if t_ns > self._end_ns + self._timeouts_ns[slot.stream]]
        for slot in missed:  # this process was stalled for so long that sending now would measure nothing
            self._ended(Outcome(slot.intended_ns, t_ns, t_ns, slot.stream, slot.seq, Status.UNSENT))
        if missed:
            slots = [slot for slot in slots if slot not in missed]
        for slot in slots:
            self._handed_over[self._channels[slot.stream]] += 1
        if self._link.up:
            self._send(slots, t_ns)
        else:
            for slot in slots:
                self._ended(Outcome(slot.intended_ns, t_ns, t_ns, slot.stream, slot.seq, Status.FAILED))

    def _send(self, slots: Sequence[Slot], t_ns: int) -> None:
        data: list[bytes] = []
        position = self._link.position
        for slot in slots:
            lag_us = max(0, t_ns - slot.intended_ns) // 1000
            token = encode_token(Token(self._config.run_tag, slot.stream, slot.seq, slot.intended_ns, lag_us))
            head, tail = self._commands[slot.stream](slot.seq)
            data += (head, token, tail)
            self._in_flight.sent(slot, t_ns, position, self._timeouts_ns[slot.stream])
            position += len(head) + TOKEN_LENGTH + len(tail)
        self._link.send(b"".join(data), t_ns)

    def _ended(self, outcome: Outcome) -> None:
        self._tally[outcome.status] += 1
        channel = self._channels[outcome.stream]
        if outcome.status is Status.OK:
            self._latencies_us[channel].append(max(0, outcome.done_ns - outcome.intended_ns) // 1000)
        else:
            self._failures[channel] += 1
        self._outcomes += OUTCOME.pack(
            outcome.sent_ns, outcome.done_ns, outcome.seq, outcome.stream, outcome.status, 0, outcome.receivers, 0
        )

    def _periodic(self, t_ns: int, flushes: int) -> None:
        if flushes % HEALTH_EVERY == 0:
            self._stripe.events([self._health.event(t_ns, missed=0)])
            self._tell(self._batches())
        self._flush()
        if flushes % (COMING_EVERY if self._schedule is None else COUNTS_EVERY) == 0:
            self._tell(self._counts())
        if self._published and not self._told_published:
            self._told_published = True
            self._tell(self._counts())
            self._tell({"ev": "published"})

    @property
    def _published(self) -> bool:
        """Every slot was tried, and how each ended is known."""
        over = self._schedule is not None and now_ns() >= self._end_ns
        return over and self._next_slot_ns() is None and self._in_flight.open == 0

    def _flush(self) -> None:
        t_ns = now_ns()
        self._stripe.write(Kind.OUTCOMES, self._outcomes)
        self._outcomes.clear()
        self._stripe.heartbeat(t_ns)

    def _counts(self) -> Message:
        tried = dict(zip(self._config.channels, self._handed_over, strict=True))
        return {
            "ev": "counts",
            "t": now_ns(),
            "publishers": len(self._streams),
            "up": self._link.up,
            "error": None if self._link.up else self._link.error,
            "tried": tried,
            "sent": sum(tried.values()),
            "unsent": self._tally[Status.UNSENT],
            "failed": self._tally[Status.FAILED],
            "unknown": self._tally[Status.TIMED_OUT] + self._tally[Status.UNKNOWN],
        }

    def _batches(self) -> Message:
        published = {}
        for index, channel in enumerate(self._config.channels):
            histogram = Histogram()
            histogram.add(np.array(self._latencies_us[index], np.int64))
            self._latencies_us[index].clear()
            failures, self._failures[index] = self._failures[index], 0
            batch = histogram.take(failures)
            if batch is not None:
                published[channel] = batch.to_json()
        return {"ev": "batch", "publish": published}

    def _finish(self, reason: str) -> None:
        """End in order: what is in flight is unknown, and the stripe gets its END frame."""
        self._link.close()
        self._in_flight.broken(self._link.handed_over, now_ns())
        self._flush()
        footer = {
            "reason": reason,
            "outcomes": {status.name.lower(): count for status, count in self._tally.items()},
            "errors": self._in_flight.errors,
        }
        self._stripe.close(footer)
        for message in (self._counts(), self._batches(), {"ev": "ended", **footer}):
            self._tell(message)

    def _tell(self, message: Message) -> None:
        """To the worker. Lines are few and small; a worker that is gone is noticed when its orders end."""
        self._control.settimeout(1)
        try:
            self._control.sendall(encode(message))
        except OSError:
            return
        finally:
            self._control.settimeout(0)


def _command(channel: str, payload: Payload) -> Callable[[int], tuple[bytes, bytes]]:
    """By a message's number, its PUBLISH command before and after the token."""
    name = channel.encode()
    start = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$%d\r\n" % (len(name), name, payload.size)

    def parts(seq: int) -> tuple[bytes, bytes]:
        head, tail = payload.around(seq)
        return start + head, tail + b"\r\n"

    always = None if payload.objects else parts(1)
    return parts if always is None else lambda _: always
