"""Which losses a node's `drop` lines speak of. A line says how many clients it concerns, and perhaps which."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fanlab.ledger.causes import CLOSING, SLOW, WRITE_FAILED
from fanlab.ledger.histogram import Ints
from fanlab.ledger.lookups import latest
from fanlab.ledger.received import Bools

NO_DROP: Final = -1
_FIRST_SERVED: Final = (SLOW, WRITE_FAILED, CLOSING)  # where lines without names meet more losses than they explain
_NOBODY: Final = -1


@dataclass(frozen=True, slots=True)
class Drops:
    """All nodes' drop lines. Rows of `lines` are (node, stream, seq, t, reason, how many); of `who` (line, client)."""

    lines: NDArray[np.int64]
    who: NDArray[np.int64]

    def reasons(self, node: Ints, stream: Ints, seq: Ints, client: Ints, live: Bools) -> Ints:
        """By loss, the reason for which its node says that it dropped it; NO_DROP.

        Lines explain the losses of the clients that they name. What they leave unnamed explains no more losses of that
        message on that node than they count; which ones cannot be known: those of the clients with the lowest numbers.
        """
        found = np.full(len(node), NO_DROP)
        if not len(self.lines) or not live.any():
            return found
        lines, loss = _numbered(_key(self.lines[:, 0], self.lines[:, 1], self.lines[:, 2]), _key(node, stream, seq))
        candidates = np.flatnonzero(live & np.isin(loss, lines))
        if len(self.who):
            of, named = self.who[:, 0], self.who[:, 1]
            span = 1 + int(max(named.max(), client.max()))
            for reason in reversed(_FIRST_SERVED):  # the one that is served first is written last, and stays
                told = self.lines[of, 4] == reason
                wanted = lines[of[told]] * span + named[told]
                found[candidates[np.isin(loss[candidates] * span + client[candidates], wanted)]] = reason
        unnamed = self.lines[:, 5] - np.bincount(self.who[:, 0], minlength=len(self.lines))
        rest = candidates[found[candidates] == NO_DROP]
        rest = rest[np.lexsort((client[rest], loss[rest]))]
        of = loss[rest]
        begins = np.flatnonzero(np.append(True, of[1:] != of[:-1]))
        rank = np.arange(len(of)) - np.repeat(begins, np.diff(np.append(begins, len(of))))
        served = np.zeros(len(of), np.int64)
        for reason in _FIRST_SERVED:
            told = self.lines[:, 4] == reason
            count = np.zeros(1 + int(max(lines.max(), loss.max())), np.int64)
            np.add.at(count, lines[told], np.maximum(unnamed[told], 0))
            found[rest[(rank >= served) & (rank < served + count[of])]] = reason
            served += count[of]
        return found

    def slow_since(self, node: Ints, client: Ints, since_ns: Ints, until_ns: Ints, closed_ns: Ints) -> Bools:
        """Whether each node dropped anything for that client as slow after `since_ns`, until `closed_ns`.

        A drop that names nobody may have been for it if it was made until `until_ns`.
        """
        slow = np.flatnonzero(self.lines[:, 4] == SLOW)
        nameless = np.setdiff1d(slow, self.who[:, 0])
        named = self.who[np.isin(self.who[:, 0], slow)]
        of = np.concatenate((nameless, named[:, 0]))
        whom = np.concatenate((np.full(len(nameless), _NOBODY), named[:, 1]))
        if not len(of):
            return np.zeros(len(node), np.bool_)
        span = 2 + int(max(whom.max(), client.max(initial=0)))
        group, t_ns = self.lines[of, 0] * span + whom + 1, self.lines[of, 3]
        found = np.zeros(len(node), np.bool_)
        for one, end_ns in ((client + 1, closed_ns), (np.zeros(len(client), np.int64), until_ns)):
            at = latest(group, t_ns, node * span + one, end_ns)
            found |= (at >= 0) & (t_ns[at] >= since_ns)
        return found


def _key(node: Ints, stream: Ints, seq: Ints) -> Ints:
    return (node << 48) | (stream << 32) | seq


def _numbered(lines: Ints, losses: Ints) -> tuple[Ints, Ints]:
    """The keys of both as small numbers, the same for equal keys."""
    _, numbers = np.unique(np.concatenate((lines, losses)), return_inverse=True)
    return numbers[: len(lines)], numbers[len(lines) :]
