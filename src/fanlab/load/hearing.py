"""What the witness hears, without sockets: replies of Redis come in, records and events to journal come out.

The witness subscribes by patterns, each of which matches one channel literally, so that PUBSUB CHANNELS and NUMSUB do
not show it. A PING is answered behind all that was published before it, so the sending time of the last PING that was
answered is the instant up to which the witness has everything: its `good_ns`.
"""

import re
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from fanlab.ledger.records import TOKEN_LENGTH, TOKEN_PREFIX, WITNESS, decode_token
from fanlab.load.resp import ErrorReply, Reply, encode_command

PINGS_UNANSWERED: Final = 64  # no more at a time: a Redis that lags need not be asked again
_SPECIAL: Final = re.compile(rb"([\\*?\[\]])")


def literal_pattern(channel: str) -> bytes:
    """A glob of Redis that matches this name and no other. https://redis.io/docs/latest/commands/psubscribe/"""
    return _SPECIAL.sub(rb"\\\1", channel.encode())


class Hearing:
    """One witness's. `records` and `events` are for the caller to journal, and to clear."""

    def __init__(self, channels: Sequence[str], run_tag: int, streams: int) -> None:
        self._patterns = [literal_pattern(channel) for channel in channels]
        self._run_tag = run_tag
        self._streams = streams
        self.records = bytearray()  # records.WITNESS, packed
        self.events: list[dict[str, Any]] = []
        self.up = False
        self.good_ns = 0  # all that Redis had published by then has come; 0: never subscribed yet
        self.copies = self.foreign = self.damaged = self.cut = 0
        self.refusal: str | None = None  # why Redis does not let us subscribe
        self._preamble = 0
        self._unconfirmed = 0
        self._pings: deque[int] = deque()

    def opened(self, preamble: int) -> bytes:
        """A fresh connection, on which `preamble` commands went out already; returns those to send."""
        self.up, self.refusal = False, None
        self._preamble = preamble
        self._unconfirmed = len(self._patterns)
        self._pings.clear()
        return encode_command(b"PSUBSCRIBE", *self._patterns)

    def ping(self, now_ns: int) -> bytes:
        """A PING to send at `now_ns`, or nothing where it is of no use."""
        if not self.up or len(self._pings) >= PINGS_UNANSWERED:
            return b""
        self._pings.append(now_ns)
        return encode_command(b"PING")

    @property
    def pings(self) -> int:
        """How many are unanswered."""
        return len(self._pings)

    def take(self, reply: Reply, t_ns: int) -> None:
        """A reply that was read at `t_ns`."""
        if isinstance(reply, ErrorReply):
            self.refusal = reply.text
        elif self._preamble:
            self._preamble -= 1
        elif isinstance(reply, list) and len(reply) > 1:
            kind = reply[0]
            if kind == b"pmessage":
                self._message(reply[3], t_ns)
            elif kind == b"psubscribe":
                self._confirmed(t_ns)
            elif kind == b"pong" and self._pings:
                self.good_ns = self._pings.popleft()

    def broke(self, t_ns: int, error: str) -> None:
        """The connection is lost. What was on its way is lost, too."""
        if self.up:
            self._down(t_ns, error)
            self.cut += 1
        self._preamble = 0

    def ended(self, t_ns: int) -> dict[str, int]:
        """The orderly end; returns what the END frame says."""
        if self.up:
            self._down(t_ns, "the end")
        return {"copies": self.copies, "foreign": self.foreign, "damaged": self.damaged, "cut": self.cut}

    def _down(self, t_ns: int, error: str) -> None:
        self.up = False
        self.events.append({"t": t_ns, "ev": "witness", "state": "down", "good": self.good_ns, "error": error})

    def _confirmed(self, t_ns: int) -> None:
        self._unconfirmed -= 1
        if not self._unconfirmed:
            self.up, self.good_ns = True, t_ns
            self.events.append({"t": t_ns, "ev": "witness", "state": "up"})

    def _message(self, payload: Any, t_ns: int) -> None:
        at = payload.find(TOKEN_PREFIX)
        while at >= 0:
            token = decode_token(payload[at : at + TOKEN_LENGTH])
            if token is None:
                at = payload.find(TOKEN_PREFIX, at + 1)
                continue
            if token.run != self._run_tag:
                self.foreign += 1
            elif token.stream >= self._streams:
                self.damaged += 1
            else:
                self.records += WITNESS.pack(t_ns, token.intended_ns, token.seq, token.stream, 0)
                self.copies += 1
            return
        self.damaged += 1
