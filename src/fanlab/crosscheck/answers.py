"""The rules in order, and what they come to: counts by phase, and the set behind each count, message by message."""

import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from fanlab.crosscheck.gather import gather

RULES: Final = ("messages", "windows", "lagging", "damage", "deliveries", "outcomes", "order", "terms", "caches")
TERMS: Final = (
    "published",
    "owed",
    "delivered",
    "lost",
    "indeterminate",
    "duplicated",
    "reordered",
    "unexpected",
    "disagreed",
    "corrupted",
)
SETS: Final = TERMS[3:]
CACHE_TERMS: Final = (
    *("owed", "refreshed", "missed", "indeterminate", "wrong_for_good", "empty_at_end"),
    *("reads", "reads_failed", "reads_missing", "stale_reads", "stale_reads_lost", "stale_reads_withheld"),
)
CACHE_KIB: Final = 128 * 1024  # what sqlite keeps of its tables in memory; the rest is in a file without a name

Message = tuple[int, int, int, int]  # client, stream, seq, and when it was received: 0 where it was not


class Traced(NamedTuple):
    """One delivery, or one that was missing. Times are ns of the run's clock; None where there was none."""

    client: int
    group: str | None  # None: no client of the plan
    node: str | None
    publisher: str | None  # None: no stream of the plan
    channel: str | None
    stream: int
    seq: int
    outcome: str  # delivered, copy, unexpected, lost, indeterminate, unreadable
    copy: int | None  # 1, 2 … in the order received; None: did not come, or nobody can tell of what
    corrupted: bool
    intended_ns: int | None
    sent_ns: int | None
    received_ns: int | None


class Crosscheck:
    """The second checker's tables for one run. Close it when done: they may be large."""

    def __init__(self, folder: Path) -> None:
        """Read a run directory and apply the rules. Raises gather.NoRunError, OSError, sqlite3.Error (a full disk)."""
        self._db = sqlite3.connect("", isolation_level=None)  # no name: gone with the connection, however that ends
        try:
            for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
                self._db.execute(f"PRAGMA {setting}")
            self._apply("tables")
            self._db.execute("BEGIN")
            gather(folder, self._db)
            self._db.execute("COMMIT")
            for rule in RULES:
                self._apply(rule)
        except BaseException:
            self._db.close()
            raise

    def counts(self) -> dict[str, dict[str, int]]:
        """By phase (`measure`, `warm_up`), each of TERMS."""
        found = {phase: dict.fromkeys(TERMS, 0) for phase in ("measure", "warm_up")}
        for term, measured, count in self._db.execute("SELECT term, measured, count FROM term"):
            found["measure" if measured else "warm_up"][term] = count
        return found

    def caches(self) -> dict[str, dict[str, int]]:
        """By the name of each node that has a cache, each of CACHE_TERMS; empty where no publisher has objects."""
        caching = "SELECT node, name FROM caching JOIN node USING (node) WHERE EXISTS (SELECT 1 FROM cached)"
        names = dict(self._db.execute(f"{caching} ORDER BY node").fetchall())
        found = {name: dict.fromkeys(CACHE_TERMS, 0) for name in names.values()}
        for node, term, count in self._db.execute("SELECT node, term, count FROM cache_term"):
            if node in names:
                found[names[node]][term] = count
        return found

    def members(self, term: str) -> Iterator[Message]:
        """The messages of the measure phase behind one of SETS, sorted; a copy received again stands there again."""
        yield from self._db.execute(
            "SELECT client, stream, seq, recv FROM member WHERE term = ? AND measured ORDER BY 1, 2, 3, 4", (term,)
        )

    def trace(self) -> Iterator[Traced]:
        """Every delivery of every phase, and what was owed and did not come: by client, in the order of time."""
        yield from map(Traced._make, self._db.execute("SELECT * FROM trace"))

    def close(self) -> None:
        """Give the tables up."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _apply(self, rule: str) -> None:
        path = resources.files(__package__) / "rules" / f"{rule}.sql"
        self._db.executescript(path.read_text(encoding="utf-8"))
