"""A port that is the link's for good, whether somebody listens there at the moment or not."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from typing import Final

SOCKET_BUFFER_BYTES: Final = 64_000  # asked for, of the kernel; Linux gives twice that, for its own use as well
_BACKLOG: Final = 4096
_AT_ONCE: Final = 64
_FULL_PAUSE_S: Final = 0.1


class Listener:
    """Calls back with each accepted socket, which does not block, and the address of who has connected."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, host: str, on_connection: Callable[[socket.socket, str], None]
    ) -> None:
        """Raises OSError if no port can be had."""
        self._loop = loop
        self._on_connection = on_connection
        self._listening: socket.socket | None = None
        # Bound and never listening: Linux then gives the port to nobody else, and we may listen there again and again.
        self._holder: socket.socket | None = _bound(host, 0)
        self._host, self.port = host, int(self._holder.getsockname()[1])
        if sys.platform != "linux":
            self._holder.close()
            self._holder = None
        self.open()

    @property
    def address(self) -> str:
        """`host:port`."""
        return address((self._host, self.port))

    @property
    def listening(self) -> bool:
        """Whether connections are accepted."""
        return self._listening is not None

    def open(self) -> None:
        """Listen. Raises OSError if that cannot be."""
        if self._listening is None:
            self._listening = _bound(self._host, self.port)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # accepted sockets inherit them
                self._listening.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            self._listening.listen(_BACKLOG)
            self._loop.add_reader(self._listening.fileno(), self._accept)

    def close(self) -> None:
        """Refuse connections; those that nobody has accepted yet are reset."""
        if self._listening is not None:
            self._loop.remove_reader(self._listening.fileno())
            self._listening.close()
            self._listening = None

    def give_up(self) -> None:
        """Close, and let the port go."""
        self.close()
        if self._holder is not None:
            self._holder.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self._listening is None:
                return
            try:
                sock, peer = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._rest(error)
                return
            sock.setblocking(False)  # noqa: FBT003 - socket's own
            with contextlib.suppress(OSError):  # it has gone already, which the first read tells
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._on_connection(sock, address(peer))

    def _rest(self, error: OSError) -> None:
        """No descriptors, as a rule: they wait in the kernel's queue meanwhile."""
        if self._listening is not None:
            sys.stderr.write(f"cannot accept a connection on {self.address}: {error.strerror}\n")
            self._loop.remove_reader(self._listening.fileno())
            self._loop.call_later(_FULL_PAUSE_S, self._resume, self._listening)

    def _resume(self, listening: socket.socket) -> None:
        if self._listening is listening:
            self._loop.add_reader(listening.fileno(), self._accept)


def address(pair: tuple[str, int]) -> str:
    """`127.0.0.1:6379`, `[::1]:6379`: as Redis writes them."""
    host, port = pair[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> tuple[str, int]:
    """What `address` wrote; the host may be a name. Raises ValueError for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdecimal():
        raise ValueError(f"{text!r} is no host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)  # noqa: FBT003 - socket's own
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
