"""A way to a TCP server that can go silent: connections stay open, and nothing passes on them any more."""

import contextlib
import socket
import threading
from typing import Self
from urllib.parse import urlsplit


class SilentLink:
    """Listens on a port of its own and passes everything on, until `silence`. Threads, so that a test may block."""

    def __init__(self, target_url: str) -> None:
        self._target_url = target_url
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._silent = False
        self._muted: set[socket.socket] = set()  # for good
        self.accepted = 0

    @property
    def url(self) -> str:
        """The target's URL, by this way."""
        port = self._server.getsockname()[1]
        return urlsplit(self._target_url)._replace(netloc=f"127.0.0.1:{port}").geturl()

    def silence(self) -> None:
        """What is open now, and what is opened until `heal`, never passes anything again."""
        self._silent = True
        self._muted.update(self._sockets)

    def heal(self) -> None:
        """New connections are good ones."""
        self._silent = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._server, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes its thread, as close alone would not
            each.close()

    def _accept(self) -> None:
        target = urlsplit(self._target_url)
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection((target.hostname or "", target.port or 0))
            except OSError:
                return
            self._sockets += [near, far]
            if self._silent:
                self._muted |= {near, far}
            self.accepted += 1
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if source not in self._muted:
                    sink.sendall(data)
            if source not in self._muted:
                sink.shutdown(socket.SHUT_WR)
