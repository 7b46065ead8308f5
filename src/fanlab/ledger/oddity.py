"""All odd deliveries of a run: those that the fold met, with causes, and those that only a second look tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.arrival import Chunks, in_order
from fanlab.ledger.copies import CopyWorld, copy_causes
from fanlab.ledger.fold import Settled
from fanlab.ledger.mending import Mended
from fanlab.ledger.messages import Messages
from fanlab.ledger.nodejournal import NodeJournal
from fanlab.ledger.odd import Odd, sorted_odd
from fanlab.ledger.order import Lanes, busiest_order, disagreements, needs_order, witness_order
from fanlab.ledger.witness import Witness


@dataclass(frozen=True, slots=True)
class OddWorld:
    """What odd deliveries are held against."""

    messages: Messages
    zero_ns: int
    clients: int
    node_names: tuple[str, ...]
    witness: Witness | None
    events: NDArray[Any]  # windows.EVENT_DTYPE
    journals: Mapping[int, NodeJournal]  # by node index


def odd_deliveries(settled: Settled, mended: Mended, chunks: Chunks, world: OddWorld) -> tuple[NDArray[Any], list[str]]:
    """The measure phase's rows (ODD_DTYPE, sorted by time), and a sentence for each thing that could not be told well.

    Disagreements and damage are counted here, into both phases of `settled`. `chunks` have what was mended in them.
    """
    coarse: list[str] = []
    rows = sorted_odd(settled.odd)
    copies = rows["kind"] == Odd.DUPLICATED
    if copies.any():
        of = CopyWorld(world.messages, world.witness, world.events, world.journals, len(world.node_names))
        rows["cause"][copies] = copy_causes(rows[copies], in_order(chunks, settled.disordered), of)
        if world.witness is None:
            coarse.append("no witness: whether a copy was published twice or made by a node cannot be told")
    disagreed = _disagreed(settled, rows, chunks, world, coarse)
    measure = _intended_ns(disagreed, world.messages) >= world.zero_ns
    settled.measure.disagreed += int(np.count_nonzero(measure))
    settled.warm_up.disagreed += int(np.count_nonzero(~measure))
    measured = mended.intended_ns >= world.zero_ns
    settled.measure.corrupted += int(np.count_nonzero(measured))
    settled.warm_up.corrupted += int(np.count_nonzero(~measured))
    if mended.unnamed:
        coarse.append(
            f"{mended.unnamed} deliveries were damaged beyond telling which message they were: what they were is among"
            " the lost"
        )
    return sorted_odd([rows, disagreed[measure], mended.corrupted[measured]]), coarse


def _disagreed(
    settled: Settled, rows: NDArray[Any], chunks: Chunks, world: OddWorld, coarse: list[str]
) -> NDArray[Any]:
    """Rows of both phases."""
    if not needs_order(world.messages):
        return sorted_odd([])

    def deliveries() -> Any:
        return in_order(chunks, settled.disordered)

    lanes = Lanes(world.clients, len(world.node_names))
    odd = sorted_odd([rows, *settled.odd_warm_up])
    reference = witness_order(world.witness, world.messages)
    if reference is None:
        copies = odd[odd["kind"] == Odd.DUPLICATED]
        reference = busiest_order(deliveries(), deliveries(), copies, world.messages, lanes)
        client, node = lanes.named(reference.lane or 0)
        if node < len(world.node_names):
            coarse.append(
                f"no witness: client {client} on {world.node_names[node]}, who received most, stands for the order of"
                " Redis, and `disagreed` counts who differs from it"
            )
    return disagreements(deliveries(), odd, reference, world.messages, lanes)


def _intended_ns(rows: NDArray[Any], messages: Messages) -> NDArray[np.int64]:
    return messages.intended_ns[messages.find(rows["stream"].astype(np.int64), rows["seq"].astype(np.int64))]
