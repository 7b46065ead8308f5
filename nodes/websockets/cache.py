"""The in-memory cache that messages refresh: what a backend keeps of other servers' objects.

A message that is a JSON object with an `id` (text or whole number) replaces what was held under that id. Pub/Sub is
at-most-once, so after a gap everything held may be out of date, and says so until it is refreshed.
"""

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Entry:
    """One object, how often it was refreshed here, and when last (UTC, ISO 8601)."""

    value: dict[str, Any]
    version: int
    updated: str
    maybe_stale: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "value": self.value,
            "version": self.version,
            "updated": self.updated,
            "maybe_stale": self.maybe_stale,
        }


class Cache:
    """At most `limit` objects of at most `entry_bytes` each; the least recently refreshed goes first."""

    def __init__(self, limit: int, entry_bytes: int, utc_now: Callable[[], str]) -> None:
        self._limit = limit
        self._entry_bytes = entry_bytes
        self._utc_now = utc_now
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self.refreshed = 0
        self.ignored = 0  # messages that hold no object with an id, or too large a one
        self.evicted = 0
        self.gaps = 0

    def __len__(self) -> int:
        return len(self._entries)

    def refresh(self, payload: bytes) -> str | None:
        """Take a message; under which key, or None if it holds nothing for the cache."""
        found = self._read(payload)
        if found is None:
            self.ignored += 1
            return None
        key, value = found
        old = self._entries.get(key)
        self._entries[key] = Entry(value, old.version + 1 if old else 1, self._utc_now())
        self._entries.move_to_end(key)
        self.refreshed += 1
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)
            self.evicted += 1
        return key

    def missed(self) -> None:
        """Messages were lost: nothing held is known to be current."""
        self.gaps += 1
        for entry in self._entries.values():
            entry.maybe_stale = True

    def get(self, key: str) -> dict[str, Any] | None:
        """One entry, or None."""
        entry = self._entries.get(key)
        return entry.as_dict() if entry else None

    def as_dict(self) -> dict[str, Any]:
        """All of it."""
        return {
            "size": len(self._entries),
            "limit": self._limit,
            "gaps": self.gaps,
            "entries": {key: entry.as_dict() for key, entry in self._entries.items()},
        }

    def _read(self, payload: bytes) -> tuple[str, dict[str, Any]] | None:
        if len(payload) > self._entry_bytes:
            return None
        try:
            value = json.loads(payload)
        except (ValueError, RecursionError):
            return None
        key = value.get("id") if isinstance(value, dict) else None
        if isinstance(key, bool) or not isinstance(key, str | int):
            return None
        return str(key), value
