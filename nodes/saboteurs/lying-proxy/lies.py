"""Which messages are lied about, and how. Pure, but for the truth that is told of each deed.

When the first message numbered LIE_AFTER or above comes by, LIE_COUNT messages are drawn from the product of

    the (connection, stream) pairs on which messages have come by until then
    the numbers LIE_AFTER ... LIE_AFTER + LIE_SPAN - 1

by LIE_SEED and the node's name. Connections count in the order of their handshakes, and only those that say who they
are (Fanlab-Client). So the deeds are exactly those drawn as long as these connections live and the streams go on past
LIE_AFTER + LIE_SPAN. A reordered message is sent after the next one of its stream on its connection; so that no two of
them meet, only every second number is drawn from.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from units import Unit

DEEDS = ("lose", "duplicate", "reorder", "corrupt")
MODES = (*DEEDS, "delay", "stall", "none")
TOKEN_START, TOKEN_LENGTH, MARK_LENGTH = b"fl1", 47, 19
STREAM, SEQ, MARK_TAIL = slice(7, 11), slice(11, 19), slice(7, 19)  # hex digits in a mark
_NONE: dict[bytes, float] = {}

Tell = Callable[[str, int, bytes], None]  # deed, connection, mark


class OrderError(ValueError):
    """An order that cannot be carried out: which, and why."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the environment asks for."""

    mode: str = "none"
    side: str = "client"
    count: int = 0
    seed: str = "1"
    after: int = 1
    span: int = 1
    delay_ns: int = 0
    stall_at_s: float = 1.0
    stall_for_s: float = 1.0

    @property
    def choosy(self) -> bool:
        """Whether messages have to be looked at at all."""
        return self.mode in DEEDS and self.count > 0


def orders_of(environ: Mapping[str, str], node: str) -> Orders:
    """Read LIE and the rest; raises OrderError."""
    orders = Orders(
        mode=environ.get("LIE", "none"),
        side=environ.get("LIE_SIDE", "client"),
        count=_number(environ, "LIE_COUNT", 0),
        seed=f"{environ.get('LIE_SEED', '1')} {node}",
        after=_number(environ, "LIE_AFTER", 20),
        span=_number(environ, "LIE_SPAN", 100),
        delay_ns=round(float(environ.get("LIE_DELAY_MS", "0")) * 1e6),
        stall_at_s=float(environ.get("LIE_STALL_AT", "1")),
        stall_for_s=float(environ.get("LIE_STALL_FOR", "1")),
    )
    if orders.mode not in MODES:
        raise OrderError(f"LIE={orders.mode!r} is no lie; write one of {', '.join(MODES)}")
    if orders.side not in ("client", "redis"):
        raise OrderError(f"LIE_SIDE={orders.side!r} is no side; write client or redis")
    return orders


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    if not text.isdecimal():
        raise OrderError(f"{name}={text!r} is no whole number from 0")
    return int(text)


class Choice:
    """The messages chosen, over all connections."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.made = False
        self._pairs: set[tuple[int, int]] = set()
        self._chosen: dict[int, dict[bytes, float]] = {}  # by connection: the end of the mark -> a number in [0, 1)

    def sees(self, connection: int, mark: bytes) -> None:
        """A message comes by: what it teaches, until the choice is made. Raises OrderError if there is too little."""
        stream, seq = int(mark[STREAM], 16), int(mark[SEQ], 16)
        self._pairs.add((connection, stream))
        if seq < self.orders.after:
            return
        self.made = True
        step = 2 if self.orders.mode == "reorder" else 1
        seqs = range(self.orders.after, self.orders.after + self.orders.span, step)
        pairs = sorted(self._pairs)
        if self.orders.count > len(pairs) * len(seqs):
            raise OrderError(
                f"LIE_COUNT={self.orders.count}, and only {len(pairs)} connections and streams × {len(seqs)} messages"
            )
        draw = random.Random(self.orders.seed)  # noqa: S311 - a seeded choice
        for place in draw.sample(range(len(pairs) * len(seqs)), self.orders.count):
            (connection_, stream_), seq_ = pairs[place // len(seqs)], seqs[place % len(seqs)]
            self._chosen.setdefault(connection_, {})[b"%04x%08x" % (stream_, seq_)] = draw.random()

    def take(self, connection: int, mark: bytes) -> float | None:
        """A number in [0, 1) if this message is one of those chosen, the first time that it comes; else None."""
        return self._chosen.get(connection, _NONE).pop(mark[MARK_TAIL], None)

    def done(self, connection: int) -> bool:
        """Whether no message on this connection will be lied about any more."""
        return self.made and not self._chosen.get(connection)


class Liar:
    """Lies on one connection: units in, units out."""

    def __init__(self, choice: Choice, connection: int, tell: Tell) -> None:
        self._choice = choice
        self._connection = connection
        self._tell = tell
        self._held: dict[bytes, tuple[bytes, bytes]] = {}  # by stream: mark and unit

    def passes(self, unit: Unit) -> bytes:
        """What to send instead of the unit."""
        mark = mark_of(unit)
        if mark is None:
            return self.let_go() + unit.data if unit.last else unit.data
        if not self._choice.made:
            self._choice.sees(self._connection, mark)
        before = self._held.pop(mark[STREAM], None) if self._held else None
        if before is not None:
            self._tell("reorder", self._connection, before[0])
            return unit.data + before[1]
        where = self._choice.take(self._connection, mark) if self._choice.made else None
        return unit.data if where is None else self._lie(unit, mark, where)

    @property
    def done(self) -> bool:
        """Whether all that is still to come may pass as it is."""
        return not self._held and self._choice.done(self._connection)

    def let_go(self) -> bytes:
        """The stream ends: what was held back and not overtaken goes out, and was no lie."""
        held, self._held = self._held, {}
        return b"".join(data for _, data in held.values())

    def _lie(self, unit: Unit, mark: bytes, where: float) -> bytes:
        mode = self._choice.orders.mode
        if mode == "reorder":
            self._held[mark[STREAM]] = (mark, unit.data)
            return b""
        self._tell(mode, self._connection, mark)
        if mode == "lose":
            return b""
        return unit.data * 2 if mode == "duplicate" else corrupted(unit, where)


def mark_of(unit: Unit) -> bytes | None:
    """The first 19 characters of the token in a unit's payload; None without one."""
    at = unit.data.find(TOKEN_START, unit.start, unit.end)
    return unit.data[at : at + MARK_LENGTH] if 0 <= at <= unit.end - TOKEN_LENGTH else None


def corrupted(unit: Unit, where: float) -> bytes:
    """The unit with one byte of its payload changed: the one at `where` of its length, or the next that is ASCII.

    The lowest bit is turned over: ASCII stays ASCII, so the text stays UTF-8, and no hex digit becomes the same one
    in the other case. Quotes and backslashes are left alone, and none is made, so that JSON stays JSON.
    """
    size = unit.end - unit.start
    for step in range(size):
        at = unit.start + (int(where * size) + step) % size
        old = unit.data[at]
        new = old ^ 1
        if old >= 0x20 and new < 0x7F and not {old, new} & set(b'"\\{}:,'):
            return unit.data[:at] + bytes([new]) + unit.data[at + 1 :]
    raise OrderError("a payload without a byte that could be another one")
