"""The toxics' vocabulary: what can be ordered, and what is said of an order that makes no sense."""

import re

import pytest

from fanlab.link.chain import Chain
from fanlab.link.items import End, Kind
from fanlab.link.toxics.latency import Latency
from fanlab.link.toxics.toxic import EFFECTS, parse_toxic
from fanlab.seed import rng

MS = 1_000_000
RESET = End(Kind.RESET, "up-reset")


@pytest.mark.parametrize(
    ("type_", "attributes"),
    [
        ("latency", {"latency_ms": 100}),
        ("latency", {"latency_ms": 0, "jitter_ms": 2.5}),
        ("bandwidth", {"rate_bytes_per_s": 1000}),
        ("slicer", {"average_size_bytes": 1}),
        ("slicer", {"average_size_bytes": 64, "size_variation_bytes": 63, "delay_us": 10}),
        ("hold", {}),
        ("drop", {}),
        ("half_open", {}),
        ("reset_peer", {}),
        ("reset_peer", {"timeout_ms": 10}),
        ("slow_close", {"delay_ms": 10}),
        ("limit_data", {"bytes": 0}),
        ("down", {}),
    ],
)
def test_what_can_be_ordered(type_: str, attributes: dict[str, float]) -> None:
    toxic = parse_toxic("x", type_, attributes=attributes)
    assert (toxic.name, toxic.type, toxic.stream, toxic.toxicity) == ("x", type_, "downstream", 1.0)
    assert isinstance(toxic.effect, EFFECTS[type_])
    assert all(getattr(toxic.effect, name) == value for name, value in attributes.items())
    assert toxic.blocks_opening == (type_ in ("hold", "drop"))


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({"type_": "latencey"}, "there is no toxic of type 'latencey'; there are latency, bandwidth, slicer, hold"),
        ({"type_": "hold", "stream": "up"}, "stream must be upstream, downstream or both, not 'up'"),
        ({"type_": "hold", "toxicity": 1.5}, "toxicity must be a number from 0 to 1, not 1.5"),
        ({"type_": "hold", "toxicity": True}, "toxicity must be a number from 0 to 1, not True"),
        ({"type_": "hold", "attributes": {"x": 1}}, "hold has no attribute 'x'; it has none"),
        ({"type_": "latency", "attributes": {}}, "latency needs the attribute latency_ms"),
        ({"type_": "latency", "attributes": {"latency": 1}}, "no attribute 'latency'; it has latency_ms, jitter_ms"),
        ({"type_": "latency", "attributes": {"latency_ms": -1}}, "latency: latency_ms must not be negative, and is -1"),
        ({"type_": "latency", "attributes": {"latency_ms": "1"}}, "latency: latency_ms must be a number, not '1'"),
        ({"type_": "latency", "attributes": {"latency_ms": float("nan")}}, "latency_ms must be a number, not nan"),
        ({"type_": "bandwidth", "attributes": {"rate_bytes_per_s": 0}}, "rate_bytes_per_s must be above 0, and is 0"),
        ({"type_": "slicer", "attributes": {"average_size_bytes": 1.5}}, "must be a whole number, not 1.5"),
        (
            {"type_": "slicer", "attributes": {"average_size_bytes": 8, "size_variation_bytes": 8}},
            "size_variation_bytes must be less than average_size_bytes",
        ),
        ({"type_": "limit_data", "attributes": {"bytes": -1}}, "bytes must not be negative, and is -1"),
        ({"type_": "reset_peer", "attributes": {"timeout_ms": None}}, "timeout_ms must be a number, not None"),
        ({"type_": "slow_close", "attributes": {"delay_ms": True}}, "delay_ms must be a number, not True"),
        ({"type_": "half_open", "stream": "both"}, "half_open closes one side: stream must be upstream or downstream"),
        ({"type_": "down", "toxicity": 0.5}, "down is for all connections: toxicity must be 1"),
    ],
)
def test_what_is_said_of_what_cannot(order: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse_toxic("x", **order)  # type: ignore[arg-type]


def test_a_reset_is_as_late_as_the_bytes_before_it() -> None:
    chain = Chain()
    chain.add("slow", Latency(100).stage("slow", 0, rng(1)), 0)
    chain.feed(b"last words", 0)
    chain.feed(RESET, 5 * MS)
    chain.pump(104 * MS)
    assert list(chain.out) == [b"last words"]
    assert chain.due_ns() == 105 * MS
    chain.pump(105 * MS)
    assert list(chain.out) == [b"last words", RESET]


def test_reset_peer_resets_at_its_time_and_lets_all_pass_until_then() -> None:
    chain = Chain()
    toxic = parse_toxic("strike", "reset_peer", attributes={"timeout_ms": 50})
    chain.add("strike", toxic.effect.stage("strike", 7 * MS, rng(1)), 7 * MS)  # type: ignore[union-attr]
    chain.feed(b"on", 10 * MS)
    assert list(chain.out) == [b"on"]
    assert chain.due_ns() == 57 * MS
    chain.pump(57 * MS - 1)
    assert list(chain.out) == [b"on"]
    chain.pump(57 * MS)
    assert list(chain.out) == [b"on", End(Kind.RESET, "strike")]
    assert chain.due_ns() is None
    chain.remove("strike", 58 * MS)
    assert len(chain.out) == 2


def test_slow_close_delays_ends_only() -> None:
    chain = Chain()
    toxic = parse_toxic("lazy", "slow_close", attributes={"delay_ms": 20})
    chain.add("lazy", toxic.effect.stage("lazy", 0, rng(1)), 0)  # type: ignore[union-attr]
    chain.feed(b"bye", 3 * MS)
    chain.feed(End(Kind.FIN, "end"), 3 * MS)
    assert list(chain.out) == [b"bye"]
    chain.pump(23 * MS)
    assert list(chain.out) == [b"bye", End(Kind.FIN, "end")]


def test_a_toxic_also_holds_what_the_receiver_had_no_room_for() -> None:
    chain = Chain()
    chain.feed(b"under way", 0)
    hold = parse_toxic("cut", "hold").effect
    chain.add("cut", hold.stage("cut", 1, rng(1)), 1)  # type: ignore[union-attr]
    assert not chain.out
    assert chain.held == 9
    chain.close()
    assert (chain.held, chain.discarded) == (0, 9)


def test_jitter_is_drawn_from_the_seed() -> None:
    def dues(seed: int) -> list[int | None]:
        stage = Latency(100, 50).stage("x", 0, rng(seed))
        found = []
        for _ in range(5):
            stage.feed(b"x", 0)
            found.append(stage.due_ns())
            stage.release()
        return found

    assert dues(1) == dues(1) != dues(2)
    assert all(due is not None and 50 * MS <= due <= 150 * MS for due in dues(1))


@pytest.mark.parametrize(
    ("type_", "attributes", "touched"),
    [
        ("latency", {"latency_ms": 1}, 10),
        ("latency", {"latency_ms": 0}, 0),
        ("bandwidth", {"rate_bytes_per_s": 1000}, 10),
        ("slicer", {"average_size_bytes": 3}, 10),
        ("slicer", {"average_size_bytes": 10}, 0),
        ("hold", {}, 10),
        ("drop", {}, 10),
        ("limit_data", {"bytes": 4}, 6),
        ("reset_peer", {"timeout_ms": 0}, 0),
        ("slow_close", {"delay_ms": 9}, 0),
    ],
)
def test_what_a_toxic_has_touched_went_on_otherwise_than_it_came(
    type_: str, attributes: dict[str, float], touched: int
) -> None:
    stage = parse_toxic("x", type_, attributes=attributes).effect.stage("x", 0, rng(1))  # type: ignore[union-attr]
    assert stage.touched == 0
    stage.feed(b"0123456789", 0)
    assert stage.touched == touched
