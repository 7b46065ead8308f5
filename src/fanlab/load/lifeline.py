"""A Locust process's line to fanlab's parent process: orders come down, news go up, and its end ends the process."""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent.lock import RLock

from fanlab.load.wire import LineReader, Message, encode

_READ_BYTES = 1 << 16


class Lifeline:
    """JSON lines over a Unix socket, under gevent. Safe to use from many greenlets."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = RLock()
        self._lines = LineReader()
        self._early: list[Message] = []

    def tell(self, message: dict[str, Any]) -> None:
        """Send a line; one that cannot be sent is dropped: the other end is gone, which `listen` tells."""
        with self._lock:  # a full buffer would let another greenlet's line into the middle of this one
            try:
                self._socket.sendall(encode(message))
            except OSError:
                return

    def wait_for(self, op: str) -> bool:
        """Wait for the first order, if it is this one; False for another, and where the parent is gone."""
        try:
            while not self._early and (data := self._socket.recv(_READ_BYTES)):
                self._early += self._lines.feed(data)
        except OSError:
            return False
        return bool(self._early) and self._early.pop(0)["op"] == op

    def listen(self, on_message: Callable[[Message], None], on_end: Callable[[], None]) -> None:
        """Call back for each line, then for the end, from a greenlet of its own."""

        def run() -> None:
            try:
                for message in self._early:  # came with what was waited for
                    on_message(message)
                while data := self._socket.recv(_READ_BYTES):
                    for message in self._lines.feed(data):
                        on_message(message)
            except OSError:
                pass  # an abrupt end is an end, and so is our own hanging up, which gevent tells readers by an EBADF
            on_end()

        gevent.spawn(run)

    def close(self) -> None:
        """Hang up: both ends' `listen` come to their end."""
        with contextlib.suppress(OSError):  # the other end was quicker
            self._socket.shutdown(socket.SHUT_RDWR)


def dial(path: Path) -> Lifeline:
    """Connect to the parent. Raises OSError when it is gone."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(str(path))
    return Lifeline(sock)
