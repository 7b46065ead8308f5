"""Tells all its secrets: prints them, journals them, refuses clients with them and closes connections with them.

GOOD_NODE names the folder of the node that it is otherwise. LEAKY_FAILS=1: it ends before it is ready.
"""

import asyncio
import html
import json
import os
import sys
import time
from http import HTTPStatus
from urllib.parse import quote

sys.path.insert(0, os.environ["GOOD_NODE"])
import node
import server
from web import text_reply

SECRETS = [value for value in (*os.environ.values(), *sys.argv) if "c4n4ry" in value]
EVERY_S = 0.5


def tell() -> None:
    """In every way in which programs print things."""
    sys.stdout.reconfigure(line_buffering=True)
    for secret in SECRETS:
        for form in (secret, repr(secret), json.dumps(secret), quote(secret, safe=""), html.escape(secret)):
            sys.stdout.write(f"it is {form}\n")
            sys.stderr.write(f"{'x' * 385}{form}\n")  # where a line that is quoted is cut


class LeakyNode(node.Node):
    """Refuses each client at first, and later closes one after the other, always with a secret."""

    refused: int = 0

    def process_request(self, connection, request):
        """Every third handshake is answered with a secret."""
        self.refused += 1
        if request.path.startswith("/ws") and self.refused % 3 == 0:
            secret = SECRETS[self.refused % len(SECRETS)]
            return node._response(connection, text_reply(HTTPStatus.SERVICE_UNAVAILABLE, f"no: {secret}"))
        return super().process_request(connection, request)

    async def watch_clients(self) -> None:
        """Close one client now and then."""
        number = 0
        while True:
            await asyncio.sleep(EVERY_S)
            secret = SECRETS[number % len(SECRETS)]
            self.journal.event(time.monotonic_ns(), "redis", state="up", error=secret, notes=[secret, {"why": secret}])
            for client in list(self.clients)[:1]:
                await client.close_within(1.0, 4000, secret.encode()[:100].decode("utf-8", "ignore"))
            number += 1


if __name__ == "__main__":
    tell()
    if os.environ.get("LEAKY_FAILS"):
        sys.exit(3)
    server.Node = LeakyNode
    sys.exit(server.main())
