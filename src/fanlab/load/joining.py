"""How a process of another host joins a run: one TCP port, one token that both ends prove to know, JSON lines.

    run     {"op": "hello", "fanlab": version, "nonce": hex}
    joiner  {"ev": "knock", "fanlab": version, "kind": "worker|rpc|file", "nonce": hex, "proof": hex, …}
    run     {"op": "welcome", "proof": hex, …}   or   {"op": "refused", "why": sentence}

A proof is an HMAC of both nonces under the token, so the token itself never crosses the network, nothing that was heard
can be used again, and a joiner takes no orders from a stranger. What is sent afterwards is neither hidden nor sealed.
"""

import asyncio
import contextlib
import hashlib
import hmac
import re
import secrets
import socket
import sys
from dataclasses import dataclass
from typing import Any, Final, Literal

from fanlab import __version__
from fanlab.errors import EnvironmentFailure
from fanlab.load.wire import Message, decode, encode

Kind = Literal["worker", "rpc", "file"]
KINDS: Final = ("worker", "rpc", "file")

GREET_S: Final = 10.0  # for the whole handshake
STRANGER_BYTES: Final = 1 << 14  # of a line, before the other end has proved itself
MEMBER_BYTES: Final = 1 << 26
LEAST_TOKEN: Final = 16  # characters
SILENT_S: Final = 10  # a peer that does not even acknowledge for so long is gone
_READ_BYTES: Final = 1 << 16
_HEX: Final = re.compile(r"[0-9a-f]{32}$")


class Refused(EnvironmentFailure):
    """The other end will not have us, or we will not have it."""


def make_token() -> str:
    """192 random bits."""
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True)
class Knock:
    """A joiner that has proved to know the token: what it wants, and what else it said."""

    kind: Kind
    said: Message
    proof: str  # for our welcome


class Incoming:
    """Messages from a stream, one by one. The end, an abrupt one too, is None."""

    def __init__(self, reader: asyncio.StreamReader, most_bytes: int = STRANGER_BYTES) -> None:
        """A line of more than `most_bytes` raises ValueError."""
        self.most_bytes = most_bytes
        self._reader = reader
        self._unread = bytearray()

    async def next(self) -> Message | None:
        """The next one. Raises ValueError for a line that is no message, or too long."""
        seen = 0
        while (end := self._unread.find(b"\n", seen)) < 0:
            seen = len(self._unread)
            if seen > self.most_bytes:
                raise ValueError(f"a line of more than {self.most_bytes} bytes")
            try:
                data = await self._reader.read(_READ_BYTES)
            except OSError:
                return None
            if not data:
                return None
            self._unread += data
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return decode(line)

    def rest(self) -> bytes:
        """What has come after the last message already: the beginning of what is no message. Gives it away."""
        rest = bytes(self._unread)
        self._unread.clear()
        return rest


async def admit(incoming: Incoming, writer: asyncio.StreamWriter, token: str) -> Knock:
    """The run's side: greet, and see who it is. The welcome is the caller's to give, or to refuse.

    Raises Refused, which the joiner has been told. Bound it by GREET_S.
    """
    nonce = secrets.token_hex(16)
    writer.write(encode({"op": "hello", "fanlab": __version__, "nonce": nonce}))
    try:
        said = await incoming.next()
    except ValueError as error:
        raise Refused(f"somebody knocked who is no fanlab worker: {error}") from error
    if said is None:
        raise Refused("somebody knocked and left")
    kind, theirs, proof = said.get("kind"), said.get("nonce"), said.get("proof")
    well_formed = kind in KINDS and isinstance(theirs, str) and bool(_HEX.match(theirs)) and isinstance(proof, str)
    if not well_formed or not hmac.compare_digest(
        str(proof).encode(), _proof(token, "joiner", str(kind), nonce, str(theirs)).encode()
    ):
        raise await refused(writer, "the token is not this run's")
    if said.get("fanlab") != __version__:
        raise await refused(writer, versions_differ(run=__version__, worker=str(said.get("fanlab"))[:40]))
    incoming.most_bytes = MEMBER_BYTES
    return Knock(said["kind"], said, _proof(token, "run", str(kind), nonce, str(theirs)))


async def refused(writer: asyncio.StreamWriter, why: str) -> Refused:
    """Tell the other end why it is refused, and give that as an error to raise."""
    with contextlib.suppress(OSError):  # it has left already
        writer.write(encode({"op": "refused", "why": why}))
        await writer.drain()
    return Refused(why)


async def join(
    incoming: Incoming, writer: asyncio.StreamWriter, token: str, kind: Kind, said: dict[str, Any] | None = None
) -> Message:
    """The joiner's side: prove that we belong, and see that the run does. Returns the welcome.

    Raises Refused, and OSError where it is worth another try. Bound it by GREET_S.
    """
    try:
        hello = await incoming.next()
        if hello is None:  # as a tunnel does whose other end is not up yet
            raise ConnectionResetError("it hung up at once")
        if hello.get("op") != "hello" or not _HEX.match(str(hello.get("nonce"))):
            raise Refused("no run of fanlab listens there")
        if hello["fanlab"] != __version__:
            raise Refused(versions_differ(run=str(hello["fanlab"])[:40], worker=__version__))
        nonce, theirs = secrets.token_hex(16), str(hello["nonce"])
        proof = _proof(token, "joiner", kind, theirs, nonce)
        knock = {**(said or {}), "ev": "knock", "fanlab": __version__, "kind": kind, "nonce": nonce, "proof": proof}
        writer.write(encode(knock))
        answer = await incoming.next()
    except ValueError as error:
        raise Refused(f"what listens there is no run of fanlab: {error}") from error
    if answer is None:
        raise Refused("the run has hung up")
    if answer.get("op") != "welcome":
        raise Refused(f"the run refuses this worker: {answer.get('why')}")
    expected = _proof(token, "run", kind, theirs, nonce)
    if not hmac.compare_digest(str(answer.get("proof")).encode(), expected.encode()):
        raise Refused("what listens there does not know the token: it is another run, or none")
    incoming.most_bytes = MEMBER_BYTES
    return answer


def versions_differ(*, run: str, worker: str) -> str:
    """The sentence for it."""
    return f"the run is fanlab {run}, the worker fanlab {worker}: install the same version on both"


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Have the kernel find out within SILENT_S that the other host is gone, also where nothing is said."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, SILENT_S - 2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_S * 1000)


async def splice(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    other: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    said_by_other: bytes = b"",
) -> None:
    """Carry bytes both ways until either side ends; then both are closed. `said_by_other`, read before, goes first."""
    one[1].write(said_by_other)
    ways = [asyncio.create_task(_carry(one[0], other[1])), asyncio.create_task(_carry(other[0], one[1]))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        one[1].close()
        other[1].close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()
    except OSError:
        return


def _proof(token: str, side: str, kind: str, run_nonce: str, joiner_nonce: str) -> str:
    words = f"fanlab {side} {kind} {run_nonce} {joiner_nonce}"
    return hmac.new(token.encode(), words.encode(), hashlib.sha256).hexdigest()
