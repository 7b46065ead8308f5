"""`--trace`: every delivery of a run as a row of deliveries.csv.gz, and whether the two checkers agree on them all."""

import csv
import gzip
import io
import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanlab.agreement import Agreement, compare, second_opinion
from fanlab.analysis.names import Names, names_of
from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.crosscheck.answers import Traced
from fanlab.errors import EnvironmentFailure
from fanlab.ledger.account import account as account_of
from fanlab.ledger.causes import Cause, Hop
from fanlab.rundir import RunDir, write_json

COLUMNS: Final = (
    "client", "group", "node", "publisher", "channel", "seq", "outcome", "copy", "corrupted",
    "intended_s", "sent_s", "received_s", "latency_ms", "hop", "cause",
)  # fmt: skip
_QUICK: Final = 1  # gzip's level: the best makes it a third smaller and takes four times as long


class _Loss(NamedTuple):
    """What the ledger says of a lost message."""

    node: int
    hop: int
    cause: int


def trace(rundir: RunDir) -> Agreement:
    """Write deliveries.csv.gz, hold the two checkers against one another, and note in the manifest what came of it.

    Raises MeasurementError where the directory holds no run, EnvironmentFailure where it cannot be written to.
    """
    manifest = rundir.read_manifest()
    account = account_of(rundir)
    with second_opinion(rundir) as second:
        found = compare(account, second)
        zero_ns = manifest["phases"]["zero_ns"]
        write_rows(rundir.deliveries, _rows(second.trace(), account.losses, names_of(manifest), zero_ns))
    told = {"agrees": found.agrees, "counts": found.differing_counts, "messages": found.differing_messages}
    write_json(rundir.manifest, {**manifest, "crosscheck": told})
    return found


def write_rows(path: Path, rows: Iterable[tuple[Any, ...]]) -> None:
    """A header and the rows, as gzipped CSV; the same bytes for the same rows. In one step, as `write_json`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with (
            temporary.open("wb") as file,
            gzip.GzipFile("", "wb", _QUICK, file, mtime=0) as zipped,
            io.TextIOWrapper(zipped, "utf-8", newline="") as text,
        ):
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)
        temporary.replace(path)
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot write {path}: {error.strerror}", hint="free some space, or leave --trace out"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _rows(traced: Iterable[Traced], losses: NDArray[Any], names: Names, zero_ns: int) -> Iterator[tuple[object, ...]]:
    """Rows under COLUMNS. `traced` is sorted by client, so that only one client's losses are looked at at a time."""
    losses = np.sort(losses, order=["client", "stream", "seq"])
    client_of = losses["client"].astype(np.int64)
    for client, rows in groupby(traced, attrgetter("client")):
        first, end = np.searchsorted(client_of, [client, client + 1])
        lost = _by_message(losses[first:end])
        for row in rows:
            yield _row(row, lost.get((row.stream, row.seq)), names, zero_ns)


def _by_message(losses: NDArray[Any]) -> dict[tuple[int, int], _Loss]:
    keys = zip(losses["stream"].tolist(), losses["seq"].tolist(), strict=True)
    found = zip(losses["node"].tolist(), losses["hop"].tolist(), losses["cause"].tolist(), strict=True)
    return {key: _Loss(*one) for key, one in zip(keys, found, strict=True)}


def _row(row: Traced, loss: _Loss | None, names: Names, zero_ns: int) -> tuple[object, ...]:
    return (
        row.client,
        row.group,
        names.node(loss.node) if loss else row.node,
        row.publisher,
        row.channel,
        None if row.outcome == "unreadable" else row.seq,
        row.outcome,
        row.copy,
        int(row.corrupted),
        _seconds(row.intended_ns, zero_ns),
        _seconds(row.sent_ns, zero_ns),
        _seconds(row.received_ns, zero_ns),
        _latency_ms(row),
        Hop(loss.hop).label if loss else None,
        Cause(loss.cause).label if loss else None,
    )


def _seconds(t_ns: int | None, zero_ns: int) -> str | None:
    return None if t_ns is None else f"{(t_ns - zero_ns) / NS_PER_S:.9f}"  # a float has these places for 50 days


def _latency_ms(row: Traced) -> str | None:
    if row.received_ns is None or row.intended_ns is None:
        return None
    return f"{(row.received_ns - row.intended_ns) / NS_PER_MS:.6f}"
