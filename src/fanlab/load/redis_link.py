"""One raw, pipelined, non-blocking connection to Redis, which comes back by itself but never repeats a command."""

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from fanlab.clock import NS_PER_MS
from fanlab.errors import EnvironmentFailure
from fanlab.load.resp import Reply, ReplyReader, encode_command
from fanlab.redaction import MARK

RETRY_NS = 50 * NS_PER_MS
CONNECT_NS = 1000 * NS_PER_MS
_READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """What a redis:// or unix:// URL says."""

    places: tuple[tuple[socket.AddressFamily, tuple[str, int] | str], ...]  # all that its name stands for
    username: str | None
    password: str | None


def parse_redis_url(url: str) -> RedisAddress:
    """The address in a URL. EnvironmentFailure for one that this connection cannot follow."""
    parts = urlsplit(url)
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if parts.scheme == "unix":
        return RedisAddress(((socket.AF_UNIX, parts.path),), username, password)
    if parts.scheme != "redis" or not parts.hostname:
        raise EnvironmentFailure(
            f"publishers cannot use the Redis URL {parts.scheme}://{parts.hostname or ''}",
            hint="give a redis://host:port or unix:///path address",
        )
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 6379, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EnvironmentFailure(f"the Redis host {parts.hostname} is not known: {error.strerror}") from error
    places = tuple((family, (str(place[0]), int(place[1]))) for family, _, _, _, place in found)
    return RedisAddress(places, username, password)


class RedisLink:
    """Give it time (`poll`) and readiness (`readable`, `writable`); it tells of replies and of breaks."""

    def __init__(
        self,
        address: RedisAddress,
        name: str,
        *,
        on_open: Callable[[int], None],
        on_reply: Callable[[Reply, int], None],
        on_break: Callable[[int, int], None],
        return_at_once: bool = False,
    ) -> None:
        """`on_open(n)`: n commands of its own went out first. `on_break(handed_over_bytes, now_ns)`.

        `return_at_once`: do not wait before the first attempt after a connection that was up has been lost.
        """
        self._address = address
        self._name = name
        self._on_open, self._on_reply, self._on_break = on_open, on_reply, on_break
        self._return_at_once = return_at_once
        self.socket: socket.socket | None = None
        self.up = False
        self.error = "not tried yet"
        self._reader = ReplyReader()
        self._out = bytearray()
        self.handed_over = 0  # bytes that the kernel took on this connection
        self._queued = 0  # bytes given to `send` on this connection
        self._retry_at_ns = 0
        self._attempts = 0
        self._give_up_at_ns = 0

    @property
    def wants_write(self) -> bool:
        """Whether to call `writable` when the socket is."""
        return self.socket is not None and (not self.up or bool(self._out))

    @property
    def position(self) -> int:
        """Bytes queued on this connection so far: where the next command begins."""
        return self._queued

    def poll(self, now_ns: int) -> None:
        """Begin or give up an attempt to connect, when it is time."""
        if self.socket is None and now_ns >= self._retry_at_ns:
            self._begin(now_ns)
        elif self.socket is not None and not self.up and now_ns >= self._give_up_at_ns:
            self._down(now_ns, "no answer to a connection attempt")

    def next_poll_ns(self) -> int | None:
        """When `poll` has something to do."""
        if self.up:
            return None
        return self._retry_at_ns if self.socket is None else self._give_up_at_ns

    def send(self, data: bytes, now_ns: int) -> None:
        """Queue bytes and hand the kernel what it takes."""
        self._out += data
        self._queued += len(data)
        self.writable(now_ns)

    def writable(self, now_ns: int) -> None:
        """The kernel may take bytes, or an attempt to connect has ended."""
        if self.socket is None:
            return
        if not self.up:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._down(now_ns, os.strerror(code))
                return
            self._opened()
        try:
            while self._out:
                taken = self.socket.send(self._out)
                self.handed_over += taken
                del self._out[:taken]
        except BlockingIOError:
            return
        except OSError as error:
            self._down(now_ns, error.strerror or str(error))

    def readable(self, now_ns: Callable[[], int]) -> None:
        """Bytes or the end have come. `now_ns` is read after the bytes are."""
        if self.socket is None:
            return
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._down(now_ns(), error.strerror or str(error))
            return
        t_ns = now_ns()
        if not data:
            self._down(t_ns, "Redis closed the connection")
            return
        for reply in self._reader.feed(data):
            self._on_reply(reply, t_ns)

    def drop(self, now_ns: int, why: str) -> None:
        """Give this connection up, and try again after a while."""
        self._down(now_ns, why)
        self._retry_at_ns = now_ns + RETRY_NS

    def close(self) -> None:
        """Close for good."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        self.up = False

    def _begin(self, now_ns: int) -> None:
        self._give_up_at_ns = now_ns + CONNECT_NS
        family, place = self._address.places[self._attempts % len(self._address.places)]  # localhost is ::1, too
        self._attempts += 1
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(0)
        if family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self.socket.connect_ex(place)
        if code not in (0, errno.EINPROGRESS, errno.EAGAIN):
            self._down(now_ns, os.strerror(code))

    def _opened(self) -> None:
        self.up = True
        self._reader = ReplyReader()
        own = [encode_command(b"CLIENT", b"SETNAME", self._name.encode())]
        if self._address.password is not None:
            who = [self._address.username.encode()] if self._address.username else []
            own.insert(0, encode_command(b"AUTH", *who, self._address.password.encode()))
        self._out = bytearray(b"".join(own))
        self._queued = len(self._out)
        self.handed_over = 0
        self._on_open(len(own))

    def _down(self, now_ns: int, error: str) -> None:
        was_up = self.up
        self.close()
        password = self._address.password  # a Redis that knows no AUTH quotes what it was told
        self.error = error.replace(password, MARK) if password else error
        self._retry_at_ns = now_ns + (0 if was_up and self._return_at_once else RETRY_NS)
        if was_up:
            self._on_break(self.handed_over, now_ns)
        self._out.clear()
