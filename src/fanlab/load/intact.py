"""What a frame holds: messages of this run, damaged ones, another run's, or none. Pure.

A message is intact when its token checks and the rest of its payload, which is a function of stream and number, stands
in the frame as it was published. A server may put an envelope round it. It may also take a message apart: a frame that
is shorter than the payload shows no more than its token, unless it is the payload itself, cut short.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from fanlab.ledger.records import TOKEN_LENGTH, TOKEN_PREFIX, Token, decode_token
from fanlab.load.payload import Payload, filler
from fanlab.load.receiving import TokenReader
from fanlab.load.wsframes import message_at

KEPT_FRAMES: Final = 256  # more than a stall leaves to a client, as a rule; bulk.c keeps as many
KEPT_BYTES: Final = 64  # of a damaged token and what follows: as many as the journal takes
_DIGITS: Final = TOKEN_LENGTH - len(TOKEN_PREFIX)
_ENOUGH_DIGITS: Final = 40  # in a row of _DIGITS: no sentence, and no shorter digest
_LEAST_DIGITS: Final = 8
_DIGIT_SHARE: Final = 0.75  # of what follows the beginning of a token: no word
_HEX: Final = np.isin(np.arange(256), list(b"0123456789abcdef"))
_PIECE: Final = 12
_PIECES: Final = tuple((at, filler(58)[at : at + _PIECE]) for at in (0, 20, 40))  # of filler, wherever it was hit


@dataclass(slots=True)
class Reading:
    """What a frame holds."""

    messages: list[tuple[Token, bool]] = field(default_factory=list)  # and whether the rest is what was published
    damaged: list[bytes] = field(default_factory=list)  # from where a token stands, or should stand: see KEPT_BYTES
    foreign: int = 0  # tokens of another run


class FrameReader:
    """Reads frames. One message comes to many clients in a row, so the last frame with one is kept."""

    __slots__ = ("_expected", "_tails", "_teach", "_tokens", "frame", "known", "token")

    def __init__(
        self,
        tokens: TokenReader,
        payloads: Sequence[Payload],
        teach: Callable[[bytes, Token], None] = lambda *_: None,
    ) -> None:
        """`payloads` are those of the streams, in their order. `teach` is told what `whole` comes to know."""
        self._tokens = tokens
        self._expected = payloads
        self._tails = [payload.around(1)[1] if payload.objects is None else None for payload in payloads]
        self.frame: bytes | None = None  # the last frame that held one intact message and no more
        self.token: Token | None = None  # of that message
        self._teach = teach
        self.known: dict[bytes, Token] = {}  # the last such frames of `whole`, as they are on the wire

    def one(self, frame: bytes) -> Token | None:
        """The token of a frame that holds one intact message; None for any other, which `read` takes apart."""
        if frame == self.frame:
            return self.token
        at = frame.find(TOKEN_PREFIX)
        if at < 0:
            return None
        token = self._tokens.read(frame, at)
        if token is None:
            return None
        end = self._end(frame, at, token)
        if end < 0 or frame.find(TOKEN_PREFIX, end) >= 0 or _digits_at(frame, end) >= 0:
            return None
        self.frame, self.token = frame, token
        return token

    def whole(self, read: bytes) -> list[Token]:
        """The tokens of a read that is nothing but whole frames with one intact message each; none of any other.

        `read` begins where a frame does. Its frames are kept, so that they need not be taken apart for the next client:
        after a stall, of this process or of the server, each of them has several messages to read at once.
        """
        found: list[Token] = []
        at = 0
        while at < len(read):
            place = message_at(read, at)
            if place is None:
                return []
            start, end = place
            frame = read[at:end]
            token = self.known.get(frame) or self._learn(frame, read[start:end])
            if token is None:
                return []
            found.append(token)
            at = end
        return found

    def _learn(self, frame: bytes, payload: bytes) -> Token | None:
        token = self.one(payload)
        if token is not None:
            if len(self.known) >= KEPT_FRAMES:
                del self.known[next(iter(self.known))]  # the oldest
            self.known[frame] = token
            self._teach(frame, token)
        return token

    def read(self, frame: bytes) -> Reading:
        """All that is in a frame."""
        found = Reading()
        at, behind = frame.find(TOKEN_PREFIX), 0
        while at >= 0:  # a server may put several messages into one frame
            token = self._tokens.read(frame, at)
            if token is not None:
                end = self._end(frame, at, token)
                found.messages.append((token, end >= 0))
                behind = max(end, at + TOKEN_LENGTH)
            else:
                behind = max(behind, self._unread(frame, at, found))
            at = frame.find(TOKEN_PREFIX, max(behind, at + 1))
        at = _digits_at(frame, behind)
        if at < 0 and not (found.messages or found.damaged or found.foreign):
            at = _filler_at(frame)
        if at >= 0:
            found.damaged.append(frame[at : at + KEPT_BYTES])
        return found

    def _unread(self, frame: bytes, at: int, found: Reading) -> int:
        """What begins like a token and is none of ours; returns where to read on."""
        text = frame[at : at + TOKEN_LENGTH]
        token = decode_token(text)
        if token is not None and token.run != self._tokens.run_tag:
            found.foreign += 1
            return at + TOKEN_LENGTH
        digits = np.frombuffer(text[len(TOKEN_PREFIX) :], np.uint8)
        if len(digits) < _LEAST_DIGITS or np.count_nonzero(_HEX[digits]) < len(digits) * _DIGIT_SHARE:
            return 0  # a word that begins like that
        found.damaged.append(frame[at : at + KEPT_BYTES])
        return at + TOKEN_LENGTH

    def _end(self, frame: bytes, at: int, token: Token) -> int:
        """Where the message with the token at `at` ends, as far as its rest is known; -1: it is damaged."""
        tail = self._tails[token.stream]
        if tail is None:
            return self._end_of_object(frame, at, token)
        behind = at + TOKEN_LENGTH
        if frame.startswith(tail, behind):
            return behind + len(tail)
        cut_short = at == 0 and behind < len(frame) and tail.startswith(frame[behind:])
        return -1 if cut_short or len(frame) >= TOKEN_LENGTH + len(tail) else behind

    def _end_of_object(self, frame: bytes, at: int, token: Token) -> int:
        payload = self._expected[token.stream]
        head, tail = payload.around(token.seq)
        behind, size = at + TOKEN_LENGTH, len(head) + TOKEN_LENGTH + len(tail)
        if at == len(head) and len(frame) == size:
            return size if frame.startswith(head) and frame.endswith(tail) else -1
        if len(frame) < size:
            return behind
        pad = payload.pad(token.seq)
        place = frame.find(pad, behind)
        return place if place < 0 else place + len(pad)


def _digits_at(frame: bytes, start: int) -> int:
    """Where a token begins whose beginning was hit, known by its digits; or a little before that. Else -1.

    A frame that ends less than a token's length behind `start` has room for none, as most have.
    """
    if len(frame) - start < TOKEN_LENGTH:
        return -1
    digits = _HEX[np.frombuffer(frame, np.uint8, offset=start)]
    counts = np.cumsum(np.append(0, digits))
    counts = counts[_DIGITS:] - counts[:-_DIGITS]
    best = int(counts.argmax())
    return max(start, start + best - len(TOKEN_PREFIX)) if counts[best] >= _ENOUGH_DIGITS else -1


def _filler_at(frame: bytes) -> int:
    """Where a token should stand in a frame that is known only by what follows one, or -1."""
    found = [at - offset for offset, piece in _PIECES if (at := frame.find(piece)) >= 0]
    return max(0, min(found) - TOKEN_LENGTH) if found else -1
