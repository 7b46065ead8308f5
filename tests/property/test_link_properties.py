"""Whatever is sent in whatever chunks through whatever toxics: bytes come out in order, or never."""

import itertools
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fanlab.link.chain import CAPACITY_BYTES, Chain
from fanlab.link.items import End, Item, Kind
from fanlab.link.toxics.bandwidth import Bandwidth
from fanlab.link.toxics.drop import Drop
from fanlab.link.toxics.hold import Hold
from fanlab.link.toxics.latency import IN_FLIGHT_BYTES, Latency
from fanlab.link.toxics.limit_data import LimitData
from fanlab.link.toxics.slicer import Slicer
from fanlab.link.toxics.slow_close import SlowClose
from fanlab.seed import rng

MS = 1_000_000
FIN = End(Kind.FIN, "end")

LATENCY = st.builds(Latency, st.integers(0, 500), st.integers(0, 700))
BANDWIDTH = st.builds(Bandwidth, st.integers(1, 10**7))
SLICER = st.builds(Slicer, st.integers(5, 100), st.integers(0, 4), st.integers(0, 20_000))
SLOW_CLOSE = st.builds(SlowClose, st.integers(0, 500))
LOSSLESS = st.one_of(LATENCY, BANDWIDTH, SLICER, SLOW_CLOSE, st.builds(Hold))
CHUNK = st.integers(1, 3000)
WAIT_NS = st.integers(0, 200 * MS)


class Line:
    """A chain with a sender who numbers his bytes, a receiver who takes what he likes, and a clock of its own."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.now_ns = 10**9
        self.sent = bytearray()
        self.got = bytearray()
        self.ends: list[End] = []
        self.names = 0

    def send(self, size: int) -> None:
        data = bytes((len(self.sent) + at) % 251 for at in range(size))
        self.sent += data
        self.chain.feed(data, self.now_ns)

    def receive(self, most: int = 1 << 30) -> None:
        """Up to so many bytes of each item that may leave."""
        self.chain.pump(self.now_ns)
        while self.chain.out:
            item = self.chain.out[0]
            if isinstance(item, End):
                self.chain.out.popleft()
                self.ends.append(item)
                continue
            assert not self.ends, "bytes after the end"
            self.got += item[:most]
            self.chain.sent(min(most, len(item)))
            if most < len(item):
                break

    def wait(self, ns: int) -> None:
        self.now_ns += ns

    def add(self, effect: Any) -> str:
        self.names += 1
        name = f"toxic-{self.names}"
        self.chain.add(name, effect.stage(name, self.now_ns, rng(self.names)), self.now_ns)
        return name

    def run_dry(self) -> None:
        """Let time pass until nothing moves any more."""
        self.receive()
        while (due_ns := self.chain.due_ns()) is not None:
            self.now_ns = max(self.now_ns, due_ns)
            self.receive()


STEP = st.one_of(
    st.tuples(st.just("send"), CHUNK),
    st.tuples(st.just("wait"), WAIT_NS),
    st.tuples(st.just("receive"), st.integers(1, 2000)),
    st.tuples(st.just("add"), LOSSLESS),
    st.tuples(st.just("remove"), st.integers(0, 5)),
)


@given(st.lists(STEP, max_size=40))
def test_lossless_toxics_lose_nothing_and_reorder_nothing(steps: Sequence[tuple[str, Any]]) -> None:
    line = Line()
    for step, value in steps:
        if step == "remove":
            if line.chain.stages:
                line.chain.remove(list(line.chain.stages)[value % len(line.chain.stages)], line.now_ns)
        else:
            getattr(line, step)(value)
        assert line.sent.startswith(line.got)
        assert len(line.got) + line.chain.held == len(line.sent)
    line.chain.feed(FIN, line.now_ns)
    for name in list(line.chain.stages):
        line.chain.remove(name, line.now_ns)
    line.receive()
    assert line.got == line.sent
    assert line.ends == [FIN]
    assert (line.chain.held, line.chain.discarded, line.chain.due_ns()) == (0, 0, None)


@given(st.lists(st.one_of(LATENCY, BANDWIDTH, SLICER, SLOW_CLOSE), max_size=4), st.lists(CHUNK, max_size=10))
def test_time_alone_brings_everything(effects: Sequence[Any], chunks: Sequence[int]) -> None:
    line = Line()
    for effect in effects:
        line.add(effect)
    for size in chunks:
        line.send(size)
    line.chain.feed(FIN, line.now_ns)
    line.run_dry()
    assert line.got == line.sent
    assert line.ends == [FIN]


@given(LATENCY, st.lists(st.tuples(CHUNK, WAIT_NS), max_size=20))
def test_latency_is_at_least_that_and_chunks_do_not_wait_for_each_other(
    effect: Latency, sends: Sequence[tuple[int, int]]
) -> None:
    line = Line()
    line.add(effect)
    shortest_ns, longest_ns = (max(0, effect.latency_ms + sign * effect.jitter_ms) * MS for sign in (-1, 1))
    fed: list[tuple[int, int]] = []  # bytes until then, and when
    for size, wait_ns in sends:
        line.send(size)
        fed.append((len(line.sent), line.now_ns))
        line.wait(wait_ns)
        line.receive()
        early = [at for total, at in fed if total <= len(line.got) and at + shortest_ns > line.now_ns]
        late = [at for total, at in fed if total > len(line.got) and at + longest_ns <= line.now_ns]
        assert not early
        assert not late  # whatever came before: many are on their way at the same time


@given(st.integers(1, 10**7), st.lists(st.tuples(CHUNK, WAIT_NS), min_size=1, max_size=20))
def test_bandwidth_is_never_exceeded_not_even_in_a_burst(rate: int, sends: Sequence[tuple[int, int]]) -> None:
    line = Line()
    line.add(Bandwidth(rate))
    start_ns = line.now_ns
    for size, wait_ns in sends:
        if not line.chain.held:
            start_ns, before = line.now_ns, len(line.got)  # the wire was idle: what follows counts from here
        line.send(size)
        line.wait(wait_ns)
        line.receive()
        assert len(line.got) - before <= rate * (line.now_ns - start_ns) / 1e9
    line.run_dry()
    assert (line.now_ns - start_ns) / 1e9 >= (len(line.sent) - before) / rate
    assert line.got == line.sent


@given(SLICER, st.lists(CHUNK, min_size=1, max_size=5))
def test_slices_have_the_size_and_the_pause(effect: Slicer, chunks: Sequence[int]) -> None:
    line = Line()
    line.add(effect)
    for size in chunks:
        line.send(size)
    times: list[int] = []
    while line.chain.held:
        for item in line.chain.out:
            assert isinstance(item, bytes)
            assert len(item) <= effect.average_size_bytes + effect.size_variation_bytes
            times.append(line.now_ns)
        line.receive()
        line.now_ns = max(line.now_ns, line.chain.due_ns() or 0)
        line.chain.pump(line.now_ns)
    assert all(b - a >= effect.delay_us * 1000 for a, b in itertools.pairwise(times))
    assert len(times) >= len(line.sent) / (effect.average_size_bytes + effect.size_variation_bytes)


@given(st.lists(CHUNK, max_size=5), st.lists(CHUNK, max_size=5), st.lists(CHUNK, max_size=5), st.booleans())
def test_hold_lets_nothing_pass_and_then_everything(
    before: Sequence[int], during: Sequence[int], after: Sequence[int], ended: bool
) -> None:
    line = Line()
    for size in before:
        line.send(size)
    line.receive()
    passed = len(line.sent)
    name = line.add(Hold())
    for size in during:
        line.send(size)
    if ended:
        line.chain.feed(FIN, line.now_ns)
    line.wait(3600 * 1000 * MS)
    line.run_dry()
    assert len(line.got) == passed
    assert line.ends == []
    line.chain.remove(name, line.now_ns)
    for size in () if ended else after:
        line.send(size)
    line.receive()
    assert line.got == line.sent
    assert line.ends == ([FIN] if ended else [])


@given(st.lists(CHUNK, max_size=5), st.lists(CHUNK, max_size=5), st.booleans(), st.booleans())
def test_drop_gives_a_prefix_and_a_reset_if_anything_was_lost(
    before: Sequence[int], during: Sequence[int], ended: bool, undelivered: bool
) -> None:
    line = Line()
    for size in before:
        line.send(size)
    if not undelivered:
        line.receive()
    passed = len(line.got)
    name = line.add(Drop())
    for size in during:
        line.send(size)
    if ended:
        line.chain.feed(FIN, line.now_ns)
    line.wait(3600 * 1000 * MS)
    line.run_dry()
    assert line.chain.discarded == len(line.sent) - passed
    line.chain.remove(name, line.now_ns)
    lost = len(line.sent) > passed or ended
    if not lost:
        line.send(10)
    line.receive()
    assert line.sent.startswith(line.got)
    assert line.ends == ([End(Kind.RESET, name)] if lost else [])
    assert len(line.got) == (passed if lost else passed + 10)


@given(st.integers(0, 5000), st.lists(CHUNK, max_size=5))
def test_limit_data_passes_exactly_that_and_closes(limit: int, chunks: Sequence[int]) -> None:
    line = Line()
    name = line.add(LimitData(limit))
    for size in chunks:
        line.send(size)
    line.receive()
    assert line.got == line.sent[:limit]
    assert line.chain.discarded == max(0, len(line.sent) - limit)
    assert line.ends == ([End(Kind.CLOSE, name)] if chunks and len(line.sent) >= limit else [])


@given(st.lists(LOSSLESS, max_size=4), st.lists(st.tuples(st.integers(1, CAPACITY_BYTES), WAIT_NS), max_size=30))
def test_who_reads_as_much_as_there_is_room_stays_within_the_bound(
    effects: Sequence[Any], sends: Sequence[tuple[int, int]]
) -> None:
    line = Line()
    for effect in effects:
        line.add(effect)
    most = CAPACITY_BYTES + IN_FLIGHT_BYTES * sum(isinstance(effect, Latency) for effect in effects)
    assert line.chain.capacity == most
    for size, wait_ns in sends:
        if room := min(size, most - line.chain.held):
            item: Item = bytes(room)
            line.chain.feed(item, line.now_ns)
        line.wait(wait_ns)
        line.chain.pump(line.now_ns)
        assert line.chain.held <= most
