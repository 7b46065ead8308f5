"""The two checkers side by side: the ledger's account of a run and the SQL one must agree, message by message."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fanlab.crosscheck.answers import CACHE_TERMS, SETS, TERMS, Crosscheck, Message
from fanlab.crosscheck.gather import NoRunError
from fanlab.errors import EnvironmentFailure, MeasurementError
from fanlab.ledger.cached import CacheTally
from fanlab.ledger.odd import Odd
from fanlab.ledger.result import Account
from fanlab.rundir import RunDir

SHOWN: Final = 10  # of the messages that differ in a term
_PHASES: Final = ("measure", "warm_up")
_BLOCK: Final = 1 << 16
_ODD: Final = {odd.label: odd for odd in Odd}

Side = Literal["ledger", "SQL"]


@dataclass(frozen=True, slots=True)
class Compared:
    """One count, twice."""

    term: str
    phase: str
    ledger: int
    sql: int
    cache: str | None = None  # the node whose cache it is of

    @property
    def agrees(self) -> bool:
        """Whether both say the same."""
        return self.ledger == self.sql


@dataclass(frozen=True, slots=True)
class Difference:
    """A message that only one of the two has under a term."""

    term: str
    only: Side
    client: int
    stream: int
    seq: int
    received_ns: int | None  # None: it did not come


@dataclass(frozen=True, slots=True)
class Agreement:
    """What comparing them comes to."""

    counts: tuple[Compared, ...]
    differing: Mapping[str, int]  # by term of SETS, how many messages only one of the two has
    differences: tuple[Difference, ...]  # the first SHOWN of each term

    @property
    def agrees(self) -> bool:
        """Whether they say the same of every count and of every message."""
        return not self.differing_counts and not self.differing_messages

    @property
    def differing_counts(self) -> int:
        """How many of `counts` are not the same."""
        return sum(not one.agrees for one in self.counts)

    @property
    def differing_messages(self) -> int:
        """How many messages only one of the two has, over all terms."""
        return sum(self.differing.values())


@contextmanager
def second_opinion(rundir: RunDir) -> Iterator[Crosscheck]:
    """The second checker's tables for a run. Raises what the account raises for a directory that holds none."""
    try:
        with Crosscheck(rundir.path) as second:
            yield second
    except NoRunError as error:
        raise MeasurementError(str(error), hint="name a run directory, as reports/runs/<scenario>/latest") from error
    except sqlite3.Error as error:
        raise EnvironmentFailure(
            f"the second checker's tables cannot be made: {error}",
            hint="they need some 200 bytes per delivery in the folder for temporary files; set TMPDIR to a larger one",
        ) from error


def compare(account: Account, second: Crosscheck) -> Agreement:
    """Hold every count of both phases, every message of the measure phase's sets, and the caches' counts together."""
    found = second.counts()
    counts = tuple(
        Compared(term, phase, getattr(tally, term), found[phase][term])
        for phase, tally in zip(_PHASES, (account.measure, account.warm_up), strict=True)
        for term in TERMS
    )
    counts += tuple(_caches(account, second.caches()))
    differing: dict[str, int] = {}
    differences: list[Difference] = []
    for term in SETS:
        differing[term] = 0
        for message, only in unmatched(members(account, term), second.members(term)):
            differing[term] += 1
            if differing[term] <= SHOWN:
                client, stream, seq, received_ns = message
                differences.append(Difference(term, only, client, stream, seq, received_ns or None))
    return Agreement(counts, differing, tuple(differences))


def _caches(account: Account, found: Mapping[str, Mapping[str, int]]) -> Iterator[Compared]:
    """The counts of each node's cache; a cache that only one of the two knows of has nothing but zeros in the other."""
    tallies = {} if account.caches is None else {name: node.tally for name, node in account.caches.nodes.items()}
    for name in dict.fromkeys((*tallies, *found)):
        ours, theirs = tallies.get(name, CacheTally()), found.get(name, {})
        for term in CACHE_TERMS:
            yield Compared(term, "measure", getattr(ours, term), theirs.get(term, 0), name)


def members(account: Account, term: str) -> Iterator[Message]:
    """What the ledger has under a term, in the order and the form of `Crosscheck.members`."""
    if term == "lost":
        rows = np.sort(account.losses, order=["client", "stream", "seq"])
        return _rows(rows, "client", "stream", "seq")
    if term == "indeterminate":
        return (
            (client, stream, seq, 0)
            for client, stream, first, last in _tuples(account.undecided, "client", "stream", "first", "last")
            for seq in range(first, last + 1)
        )
    chosen = account.odd[account.odd["kind"] == _ODD[term]]
    return _rows(np.sort(chosen, order=["client", "stream", "seq", "recv_ns"]), "client", "stream", "seq", "recv_ns")


def unmatched(ledger: Iterable[Message], sql: Iterable[Message]) -> Iterator[tuple[Message, Side]]:
    """What stands in only one of two sorted sequences. What stands twice in one must stand twice in the other."""
    ones, others = iter(ledger), iter(sql)
    one, other = next(ones, None), next(others, None)
    while one is not None or other is not None:
        if one == other:
            one, other = next(ones, None), next(others, None)
        elif other is None or (one is not None and one < other):
            assert one is not None  # noqa: S101 - for the type checker: not both are None
            yield one, "ledger"
            one = next(ones, None)
        else:
            yield other, "SQL"
            other = next(others, None)


def _rows(rows: NDArray[Any], *names: str) -> Iterator[Message]:
    for fields in _tuples(rows, *names):
        client, stream, seq, *received = fields
        yield client, stream, seq, received[0] if received else 0


def _tuples(rows: NDArray[Any], *names: str) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        yield from zip(*(block[name].tolist() for name in names), strict=True)
