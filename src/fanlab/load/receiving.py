"""The hot path of receiving: a frame's bytes in, a 32-byte record out, and everything else in bulk at each flush."""

from collections.abc import Sequence

import numpy as np

from fanlab.ledger.records import DELIVERY, DELIVERY_DTYPE, TOKEN_LENGTH, TOKEN_PREFIX, Token, decode_token
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.load.histogram import Histogram

BUFFER_RECORDS = 8192


class TokenReader:
    """Finds and decodes the token in a frame. One message comes to many clients in a row, so the last one is kept."""

    __slots__ = ("_text", "_token", "run_tag", "streams")

    def __init__(self, run_tag: int, streams: int) -> None:
        self.run_tag = run_tag
        self.streams = streams
        self._text = b""
        self._token: Token | None = None

    def read(self, frame: bytes, at: int) -> Token | None:
        """The token at offset `at` of `frame`; None where it is not one of this run's."""
        text = frame[at : at + TOKEN_LENGTH]
        if text == self._text:
            return self._token
        token = decode_token(text)
        if token is None or token.run != self.run_tag or token.stream >= self.streams:
            return None
        self._text, self._token = text, token
        return token

    @staticmethod
    def find(frame: bytes, start: int = 0) -> int:
        """Where the next token begins, or -1: the frame carries no (further) message."""
        return frame.find(TOKEN_PREFIX, start)


class DeliveryBuffer:
    """Packs deliveries into memory laid out once; `flush` writes them to the stripe and counts them by channel."""

    def __init__(self, stripe: StripeWriter, stream_channels: Sequence[int], channels: int) -> None:
        self._stripe = stripe
        self.memory = bytearray(BUFFER_RECORDS * DELIVERY.size)
        self.used = 0  # bytes of `memory`; whoever fills the last one flushes
        self._view = memoryview(self.memory)
        self._end = len(self.memory)
        self._stream_channels = np.array(stream_channels, dtype=np.int64)
        self.histograms = [Histogram() for _ in range(channels)]
        self.count = 0
        self.last_recv_ns: int | None = None

    def add(self, recv_ns: int, token: Token, client: int, node: int) -> None:
        """Keep one delivery; writes by itself when the buffer is full. Raises OSError (a full disk)."""
        used = self.used
        DELIVERY.pack_into(
            self.memory, used, recv_ns, token.intended_ns, token.seq, client, token.stream, node, token.sent_lag_us
        )
        self.used = used = used + DELIVERY.size
        if used == self._end:
            self.flush()

    def flush(self) -> None:
        """Write what is kept as one frame, and add it to the histograms. Raises OSError (a full disk)."""
        if not self.used:
            return
        kept = self._view[: self.used]
        self._stripe.write(Kind.DELIVERIES, kept)
        records = np.frombuffer(kept, DELIVERY_DTYPE)
        latency_us = (
            np.maximum(records["recv_ns"].astype(np.int64) - records["intended_ns"].astype(np.int64), 0) // 1000
        )
        if len(self.histograms) == 1:
            self.histograms[0].add(latency_us)
        else:
            channels = self._stream_channels[records["stream"]]
            order = np.argsort(channels, kind="stable")
            # Of thousands of channels, those that spoke.
            present, starts = np.unique(channels[order], return_index=True)
            for channel, chosen in zip(present, np.split(latency_us[order], starts[1:]), strict=True):
                self.histograms[channel].add(chosen)
        self.count += len(records)
        self.last_recv_ns = int(records["recv_ns"][-1])
        self.used = 0
