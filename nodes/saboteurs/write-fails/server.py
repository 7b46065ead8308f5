"""Write fails: the socket refuses certain messages. The node notes it (`write_failed`) and goes on.

Trigger: FAIL_EVERY=n (50; 0: never): messages whose number in their stream n divides, at every client.
"""

import errno
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from clients import Client
from journal import MARK_LENGTH, TOKEN

EVERY = int(os.environ.get("FAIL_EVERY", "50"))
SEQ = slice(MARK_LENGTH - 8, MARK_LENGTH)  # eight hex digits of the token


class FailingTransport:
    """A transport whose `write` raises for some messages."""

    def __init__(self, transport) -> None:
        self._transport = transport

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def write(self, data) -> None:
        token = TOKEN.search(data)
        if EVERY and token and int(token.group()[SEQ], 16) % EVERY == 0:
            raise OSError(errno.ENOBUFS, "No buffer space available")
        self._transport.write(data)


class FailingClient(Client):
    """A client behind such a transport."""

    def connection_made(self, transport) -> None:
        super().connection_made(FailingTransport(transport))


if __name__ == "__main__":
    server.Client = node.Client = FailingClient
    sys.exit(server.main())
