"""Corrupts a byte: a buffer is reused too early, and a byte of a message is another one.

Trigger: CORRUPT_EVERY=n (0, never, by default): every n-th message; CORRUPT_AT says where: `token` (its middle) or
`rest` (the default: the last byte). It stays valid UTF-8. The journal was written before, from the right bytes.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from clients import Fanout
from journal import TOKEN

EVERY = int(os.environ.get("CORRUPT_EVERY", "0"))
IN_TOKEN = os.environ.get("CORRUPT_AT", "rest") == "token"


class CorruptingFanout(Fanout):
    """Damages every n-th message with a token, the same way for all clients."""

    count = 0

    def publish(self, members, payload):
        token = TOKEN.search(payload)
        if EVERY and token:
            self.count += 1
            if self.count % EVERY == 0:
                at = token.start() + 25 if IN_TOKEN else len(payload) - 1
                payload = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
        return super().publish(members, payload)


if __name__ == "__main__":
    node.Fanout = CorruptingFanout
    sys.exit(server.main())
