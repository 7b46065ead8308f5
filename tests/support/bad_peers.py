"""Peers that speak WebSocket badly, from numbers: handshakes that are none, frames that may not be, such messages too.

`attack(n)` is the n-th: what it sends, in which pieces, and how it leaves. All of it follows from n.
"""

import json
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from fanlab.seed import rng

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GOOD = {
    "Host": "127.0.0.1",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
MAX_MESSAGE = 1 << 16  # the node's MAX_MESSAGE_BYTES
CONNECT_S = 10.0
ANSWER_S = 0.05  # an attacker listens for so long to whatever is said, at most
READ_BYTES = 1 << 16
MASK = b"\x11\x22\x33\x44"


@dataclass(frozen=True, slots=True)
class Attack:
    """What one bad peer does."""

    name: str
    pieces: tuple[bytes, ...]
    reads: bool  # whether it listens between two pieces
    leaves: Literal["in order", "by reset", "late"]  # late: it stays until all others have done their worst


def attack(number: int) -> Attack:
    """The bad peer of this number."""
    random = rng(number, "bad peer")
    make = ATTACKS[number % len(ATTACKS)]
    data = make(random)
    pieces = (data,) if isinstance(data, bytes) else tuple(data)
    if random.random() < 0.3:
        whole = b"".join(pieces)
        cut = random.randrange(len(whole) + 1)
        pieces = (whole[:cut], whole[cut:]) if random.random() < 0.5 else (whole[:cut],)
    leaves = random.choice(("in order", "in order", "by reset", "late"))
    return Attack(make.__name__.strip("_"), pieces, random.random() < 0.5, leaves)


def assail(port: int, attack: Attack) -> socket.socket | None:
    """Do it. Whatever the other side does about it is right, as far as this goes. Returns the one that stays."""
    peer = socket.create_connection(("127.0.0.1", port), timeout=CONNECT_S)
    try:
        for piece in attack.pieces:
            peer.settimeout(CONNECT_S)
            peer.sendall(piece)
            if attack.reads:
                _listen(peer)
        if attack.leaves == "late":
            return peer
        if attack.leaves == "by reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            _listen(peer)
    except OSError:
        pass  # it was thrown out
    peer.close()
    return None


def _listen(peer: socket.socket) -> None:
    """Take what comes for a moment."""
    end = time.monotonic() + ANSWER_S
    while (left_s := end - time.monotonic()) > 0:
        peer.settimeout(left_s)
        try:
            if not peer.recv(READ_BYTES):
                return
        except TimeoutError:
            return


# Handshakes


def request(headers: dict[str, str] | None = None, line: str = "GET /ws HTTP/1.1", end: str = "\r\n") -> bytes:
    """A request with these headers, the good ones by default."""
    lines = [line, *(f"{name}: {value}" for name, value in (GOOD if headers is None else headers).items()), "", ""]
    return end.join(lines).encode("latin-1", "replace")


HELLO = request()


def _noise(random: Random) -> bytes:
    return random.randbytes(random.choice((1, 100, 5000, 70_000)))


def _tls_hello(random: Random) -> bytes:
    return b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500)


def _other_protocols(random: Random) -> bytes:
    http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    return random.choice((http2, b"*1\r\n$4\r\nPING\r\n", b"SSH-2.0-x\r\n", b"EHLO x\r\n", b"\0" * 300, b"\r\n" * 500))


def _request_lines(random: Random) -> bytes:
    methods = ("POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "get", "", "G" * 9000, "GET\0")
    paths = (
        "/ws",
        "/ws?" + "a" * 60_000,
        "ws",
        "*",
        "http://127.0.0.1/ws",
        "//ws",
        "/%00",
        "/ws/../../etc/passwd",
        "/é",
        "",
    )
    versions = ("HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/9.9", "HTTPS/1.1", "", "HTTP/1.1 x")
    methods = (*methods, *("GET",) * 9)
    return request(line=f"{random.choice(methods)} {random.choice(paths)} {random.choice(versions)}")


def _header_missing(random: Random) -> bytes:
    gone = random.choice(list(GOOD))
    return request({name: value for name, value in GOOD.items() if name != gone})


def _header_wrong(random: Random) -> bytes:
    values = (
        "",
        "0",
        "-1",
        "99",
        "abc",
        "é",
        "x" * 9000,
        "\t",
        "websocket, websocket",
        "close",
        KEY * 2,
        "a b",
        "=" * 24,
        "13, 13",
    )
    return request({**GOOD, random.choice(list(GOOD)): random.choice(values)})


def _header_more(random: Random) -> bytes:
    more = {
        "Sec-WebSocket-Extensions": random.choice(
            ("permessage-deflate; x=1", ";;;", "a" * 8000, "permessage-deflate, " * 50)
        ),
        "Sec-WebSocket-Protocol": random.choice(("", ",,,", "chat, " * 500)),
        "Origin": random.choice(("null", "http://evil.example", "://", "http://[::1", "x" * 5000)),
        "Fanlab-Client": random.choice(("-1", "9" * 500, "1e9", "٣", "0x10", " 5 ")),
        "Authorization": random.choice(("Bearer", "Bearer " + "x" * 7000, "Basic !!!", "Bearer é")),
        "Content-Length": random.choice(("5", "-5", "9" * 30, "x")),
        "Transfer-Encoding": random.choice(("chunked", "identity, chunked")),
        "Expect": "100-continue",
    }
    chosen = random.sample(list(more), random.randint(1, 4))
    return request({**GOOD, **{name: more[name] for name in chosen}}) + random.choice((b"", b"5\r\nhello\r\n0\r\n\r\n"))


def _header_shapes(random: Random) -> bytes:
    lines = HELLO.split(b"\r\n")[:-2]
    odd = (
        b"no colon",
        b": no name",
        b"Na me: x",
        b" folded: x",
        b"\tfolded",
        b"X:\0",
        b"X: \xff\xfe",
        b"A" * 70_000,
        b"Host: two",
    )
    many = [b"X-%d: y" % n for n in range(random.choice((100, 300, 3000)))]
    lines[1:1] = many if random.random() < 0.3 else [random.choice(odd)]
    return random.choice((b"\r\n", b"\r\n", b"\n", b"\r")).join([*lines, b"", b""])


def _never_finished(random: Random) -> list[bytes]:
    cut = random.randrange(len(HELLO) - 2)
    return [HELLO[:cut]]


def _drop_by_drop(random: Random) -> list[bytes]:
    return [HELLO[at : at + 40] for at in range(0, len(HELLO), 40)][: random.randint(1, 9)]


def _again(random: Random) -> bytes:
    return HELLO * random.choice((2, 50))


# Frames


def frame(
    opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, length: int | None = None
) -> bytes:
    """A frame as a client sends it; `length` is what it claims."""
    size = len(data) if length is None else length
    head = bytes([fin << 7 | rsv << 4 | opcode])
    bit = masked << 7
    if size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += bytes([bit | 126]) + size.to_bytes(2)
    else:
        head += bytes([bit | 127]) + size.to_bytes(8)
    if not masked:
        return head + data
    key = (MASK * (len(data) // 4 + 1))[: len(data)]
    return head + MASK + (int.from_bytes(data) ^ int.from_bytes(key)).to_bytes(len(data))


def _open(*frames: bytes) -> list[bytes]:
    return [HELLO, *frames]


def command(**fields: object) -> bytes:
    """A text frame with a JSON object."""
    return frame(TEXT, json.dumps(fields).encode())


SUBSCRIBE = command(type="subscribe", channels=["news"])


def _unmasked(random: Random) -> list[bytes]:
    return _open(frame(random.choice((TEXT, BINARY, PING, CLOSE)), b"{}", masked=False))


def _reserved(random: Random) -> list[bytes]:
    if random.random() < 0.5:
        return _open(frame(random.choice((3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), b"x"))
    return _open(frame(TEXT, b"{}", rsv=random.randint(1, 7)))


def _bad_control(random: Random) -> list[bytes]:
    opcode = random.choice((PING, PONG, CLOSE))
    return _open(
        random.choice((frame(opcode, b"x" * 126), frame(opcode, b"x", fin=False), frame(opcode, length=1 << 40)))
    )


def _bad_close(random: Random) -> list[bytes]:
    codes = [code.to_bytes(2) for code in (0, 1, 999, 1004, 1005, 1006, 1014, 1015, 1100, 2999, 5000, 65_535)]
    bodies = (b"\x03", *codes, b"\x03\xe8\xff\xfe", b"\x03\xe8" + b"x" * 123, b"\x03\xe8" + "é".encode()[:1])
    return _open(SUBSCRIBE, frame(CLOSE, random.choice(bodies)), SUBSCRIBE, frame(TEXT, b"{}"))


def _bad_length(random: Random) -> list[bytes]:
    claims = (1 << 63, (1 << 64) - 1, 1 << 40, 1 << 31, MAX_MESSAGE + 1, 1 << 62)
    minimal = bytes([0x81, 0x80 | 127]) + (5).to_bytes(8) + bytes(4) + b"hello"
    short = bytes([0x81, 0x80 | 126]) + (5).to_bytes(2) + bytes(4) + b"hello"
    return _open(random.choice((frame(TEXT, b"x" * 5000, length=random.choice(claims)), minimal, short)))


def _fragments(random: Random) -> list[bytes]:
    part = frame(CONTINUATION, b"x" * 1000, fin=False)
    return _open(
        *random.choice(
            (
                [frame(CONTINUATION, b"x")],
                [frame(TEXT, b"x", fin=False), frame(TEXT, b"y")],
                [frame(TEXT, b"x", fin=False), part * 100],
                [frame(TEXT, b"", fin=False), frame(CONTINUATION, b"", fin=False) * 5000],
                [frame(TEXT, b'{"type":', fin=False), frame(PING, b"p") * 50, frame(CONTINUATION, b'"x"}')],
            )
        )
    )


def _bad_utf8(random: Random) -> list[bytes]:
    odd = (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"a" * 60_000 + b"\xe2\x82")
    text = random.choice(odd)
    return _open(random.choice((frame(TEXT, text), frame(TEXT, text, fin=False) + frame(CONTINUATION, text))))


def _too_large(random: Random) -> list[bytes]:
    size = random.choice((MAX_MESSAGE, MAX_MESSAGE + 1, 4 * MAX_MESSAGE, 20 * MAX_MESSAGE))
    return _open(frame(random.choice((TEXT, BINARY)), b"x" * size))


def _flood(random: Random) -> list[bytes]:
    one = random.choice(
        (frame(PING, b"p" * 125), frame(PONG), frame(TEXT, b"{}"), frame(TEXT, b"[]"), SUBSCRIBE, frame(BINARY))
    )
    return _open(one * random.choice((100, 2000)))


# Messages


def _bad_json(random: Random) -> list[bytes]:
    texts = (
        "[" * 60_000,
        '{"a":' * 10_000,
        "9" * 60_000,
        "NaN",
        "-",
        '{"type":"subscribe","type":5}',
        '"\\ud800"',
        "null",
        " " * 60_000,
    )
    return _open(*(frame(TEXT, random.choice(texts).encode()) for _ in range(random.choice((1, 5, 30)))))


def _bad_commands(random: Random) -> list[bytes]:
    long, deep = "x" * 50_000, [[[[]]]]
    channels = (
        None,
        5,
        "news",
        [],
        {},
        [None],
        [5],
        [""],
        [long],
        ["a"] * 5000,
        [f"c{n}" for n in range(5000)],
        deep,
        ["\0"],
        ["\ud800"],
        ["*"],
    )
    kinds = ("subscribe", "unsubscribe", "publish", "", None, 5, long, ["subscribe"], "SUBSCRIBE", "__class__")
    return _open(
        *(
            command(type=random.choice(kinds), channels=random.choice(channels))
            for _ in range(random.choice((1, 5, 30)))
        )
    )


def _many_channels(random: Random) -> list[bytes]:
    """As many channels as it may have, again and again, and gone without a word."""
    names = [f"{random.randrange(1 << 30):x}" for _ in range(100)]
    both = command(type="subscribe", channels=names) + command(type="unsubscribe", channels=names)
    return _open(both * random.choice((1, 20)), command(type="subscribe", channels=names))


def _deaf(random: Random) -> list[bytes]:
    """Subscribes and never reads."""
    return _open(SUBSCRIBE, frame(PING, b"p" * 125) * random.choice((1, 3000)))


ATTACKS: tuple[Callable[[Random], bytes | list[bytes]], ...] = (
    *(_noise, _tls_hello, _other_protocols, _request_lines, _header_missing, _header_wrong, _header_more),
    *(_header_shapes, _never_finished, _drop_by_drop, _again, _unmasked, _reserved, _bad_control, _bad_close),
    *(_bad_length, _fragments, _bad_utf8, _too_large, _flood, _bad_json, _bad_commands, _many_channels, _deaf),
)
