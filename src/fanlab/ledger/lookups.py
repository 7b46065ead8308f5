"""Looking things up by group and time, for all losses at once: the last entry before, the fault under way."""

from collections.abc import Sequence

import numpy as np

from fanlab.ledger.faultlog import REDIS, window_ns
from fanlab.ledger.histogram import Ints
from fanlab.ledger.result import FaultAccount


def latest(group: Ints, t_ns: Ints, of_group: Ints, at_ns: Ints) -> Ints:
    """For each (of_group, at_ns), the index of the last entry of that group with t_ns <= at_ns, or -1."""
    entries = len(group)
    if not entries or not len(of_group):
        return np.full(len(of_group), -1)
    everything = np.lexsort((
        np.concatenate((np.zeros(entries, np.int8), np.ones(len(of_group), np.int8))),  # at one time, entries first
        np.concatenate((t_ns, at_ns)),
        np.concatenate((group, of_group)),
    ))  # fmt: skip
    is_entry = everything < entries
    place = np.maximum.accumulate(np.where(is_entry, np.arange(len(everything)), -1))
    asked = ~is_entry
    before = place[asked]
    answer = np.empty(len(of_group), np.int64)
    answer[everything[asked] - entries] = np.where(before >= 0, everything[np.maximum(before, 0)], -1)
    same = (answer >= 0) & (group[np.maximum(answer, 0)] == of_group)
    return np.where(same, answer, -1)


def around(group: Ints, t_ns: Ints, of_group: Ints, at_ns: Ints) -> tuple[Ints, Ints]:
    """For each (of_group, at_ns), the entries of that group last at or before, and first after; -1 where there is none.

    `group` and `t_ns` are sorted by (group, t_ns).
    """
    before = latest(group, t_ns, of_group, at_ns)
    if not len(group):
        return before, before
    following = np.where(before >= 0, before + 1, np.searchsorted(group, of_group))
    real = np.minimum(following, len(group) - 1)
    same = (following < len(group)) & (group[real] == of_group)
    return before, np.where(same, real, -1)


def first_of_each(group: Ints) -> Ints:
    """The index of each group's first entry. (Which value of a repeated index is kept, NumPy leaves open.)"""
    at: Ints = np.unique(group, return_index=True)[1]
    return at


def last_of_each(group: Ints) -> Ints:
    """The index of each group's last entry, likewise."""
    return len(group) - 1 - first_of_each(group[::-1])


def fault_at(faults: Sequence[FaultAccount], target: str, from_ns: Ints, to_ns: Ints, *, aftermath_ns: int) -> Ints:
    """The last fault on `target` whose window, or its aftermath, meets [from_ns, to_ns]; -1."""
    found = np.full(len(from_ns), -1)
    for index in sorted(range(len(faults)), key=lambda one: faults[one].requested_ns or 0):
        window = window_ns(faults[index])
        if faults[index].target == target and window is not None:
            found[(to_ns >= window[0]) & (from_ns <= window[1] + aftermath_ns)] = index
    return found


def node_fault(
    faults: Sequence[FaultAccount],
    node_names: Sequence[str],
    node: Ints,
    from_ns: Ints,
    to_ns: Ints,
    *,
    aftermath_ns: int,
) -> Ints:
    """As `fault_at`, for the faults on each node."""
    found = np.full(len(node), -1)
    for name in {fault.target for fault in faults} - {REDIS}:
        if name in node_names:
            of_node = node == node_names.index(name)
            found[of_node] = fault_at(faults, name, from_ns[of_node], to_ns[of_node], aftermath_ns=aftermath_ns)
    return found


def either_fault(
    faults: Sequence[FaultAccount],
    node_names: Sequence[str],
    node: Ints,
    from_ns: Ints,
    to_ns: Ints,
    *,
    aftermath_ns: int,
) -> Ints:
    """As `fault_at`, for the faults on each node and those of Redis; of two that began at one time, Redis' own."""
    of_redis = fault_at(faults, REDIS, from_ns, to_ns, aftermath_ns=aftermath_ns)
    of_node = node_fault(faults, node_names, node, from_ns, to_ns, aftermath_ns=aftermath_ns)
    began_ns = np.array([*(one.requested_ns or 0 for one in faults), -1])  # the last one is that of no fault
    return np.where(began_ns[of_redis] >= began_ns[of_node], of_redis, of_node)
