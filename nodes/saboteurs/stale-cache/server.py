"""Serves a stale cache: of some objects it keeps the first value that it took, and ignores every update.

Trigger: STALE_EVERY=n (0, none, by default): the keys whose CRC-32 n divides are updated.
"""

import os
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))

import node
import server
from cache import Cache

EVERY = int(os.environ.get("STALE_EVERY", "0"))


class StaleCache(Cache):
    """Takes the first value of every key, and later ones of some."""

    def refresh(self, payload):
        found = self._read(payload)
        if EVERY and found is not None and found[0] in self._entries and zlib.crc32(found[0].encode()) % EVERY == 0:
            self.ignored += 1
            return None
        return super().refresh(payload)


if __name__ == "__main__":
    node.Cache = StaleCache
    sys.exit(server.main())
