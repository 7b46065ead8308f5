"""The simulated servers against queueing theory, and against the recursion that every single-server queue obeys."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanlab.ledger.records import Status
from fanlab.simulate.parts import Batch, Message
from fanlab.simulate.people import Party
from support.simulated import COSTS_NS, loaded_from, made_model, made_world, scenario_text

SERVICE_NS = 1_000_000.0
NO_WAITS = dict.fromkeys(("schedule", "redis", "reply", "client"), 0)


class Waits:
    """A Recorder of when each message was sent and when Redis, or its one node, was done with it."""

    def __init__(self) -> None:
        self.sent_ns: list[float] = []
        self.replied_ns: list[float] = []
        self.node_ns: list[tuple[float, float]] = []  # sent, handed out

    def meant(self, message: Message) -> None:
        self.sent_ns.append(message.sent_ns)

    def ended(self, message: Message, status: Status, done_ns: float, receivers: int) -> None:
        assert status is Status.OK
        assert message.seq > 0
        assert receivers <= 3
        self.replied_ns.append(done_ns)

    def batch(self, batch: Batch) -> None:
        self.node_ns.append((batch.message.sent_ns, float(batch.done_ns[0])))

    def cut_off(self, at_ns: float, party: Party, node: int) -> None: ...

    def life(self, at_ns: float, event: str, party: Party, node: int, **more: Any) -> None: ...

    def node_says(self, at_ns: float, node: int, event: str, **more: Any) -> None: ...


def lindley(arrived: np.ndarray, service_ns: float) -> np.ndarray:
    """When each is done, one server, first come first served: d(i) = max(a(i), d(i-1)) + s, worked out otherwise."""
    served = service_ns * np.arange(1, len(arrived) + 1)
    return np.maximum.accumulate(arrived - served + service_ns) + served


def waits_of(tmp_path: Path, rate: str, measure: str, *, of_node: bool = False) -> tuple[np.ndarray, Waits]:
    """How long each message waited before its service of SERVICE_NS began."""
    node_ns = SERVICE_NS if of_node else 0
    model = made_model(
        redis_publish_ns=0 if of_node else SERVICE_NS, redis_send_ns=0, node_message_ns=node_ns, node_delivery_ns=0,
        **NO_WAITS,
    )  # fmt: skip
    text = scenario_text(nodes=1, clients=1, rate=f"{{kind: poisson, rate: {rate}}}", measure=measure)
    kept = Waits()
    made_world(loaded_from(tmp_path, text), model, kept).run()
    if of_node:
        sent_ns, done_ns = np.array(kept.node_ns).T
    else:
        sent_ns, done_ns = np.array(kept.sent_ns), np.array(kept.replied_ns)
    return done_ns - sent_ns - (0 if of_node else SERVICE_NS), kept  # a node serves first what it then is busy with


@pytest.mark.parametrize("of_node", [False, True], ids=["redis", "node"])
def test_each_message_is_served_when_the_recursion_says(tmp_path: Path, *, of_node: bool) -> None:
    waited, kept = waits_of(tmp_path, "800/s", "10s", of_node=of_node)
    sent_ns = np.array(kept.sent_ns)
    assert len(waited) > 7000
    assert waited == pytest.approx(lindley(sent_ns, SERVICE_NS) - SERVICE_NS - sent_ns, abs=1.0)


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.7, 0.8])
def test_the_mean_wait_of_that_recursion_is_that_of_m_d_1(rho: float) -> None:
    """Pollaczek and Khinchine: W = r s / 2 (1 - r), within 2 %. benchmarks/simulator.py asks the simulator itself."""
    gaps = np.random.default_rng(1).exponential(SERVICE_NS / rho, 2_000_000)
    arrived = np.cumsum(gaps)
    waited = lindley(arrived, SERVICE_NS) - SERVICE_NS - arrived
    assert waited.mean() == pytest.approx(rho * SERVICE_NS / (2 * (1 - rho)), rel=0.02)


def test_a_publish_costs_redis_more_for_each_node(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, scenario_text(nodes=3, clients=3, rate="1/s"))
    kept = Waits()
    made_world(loaded, made_model(**NO_WAITS), kept).run()
    took_ns = np.array(kept.replied_ns) - np.array(kept.sent_ns)
    assert took_ns == pytest.approx(COSTS_NS["redis_publish_ns"] + 3 * COSTS_NS["redis_send_ns"])


def test_a_fan_out_costs_a_node_more_for_each_client(tmp_path: Path) -> None:
    loaded = loaded_from(tmp_path, scenario_text(nodes=1, clients=7, rate="1/s"))
    kept = Waits()
    made_world(loaded, made_model(**NO_WAITS), kept).run()
    redis_ns = COSTS_NS["redis_publish_ns"] + COSTS_NS["redis_send_ns"]
    node_ns = 7 * COSTS_NS["node_delivery_ns"]
    sent_ns, done_ns = np.array(kept.node_ns).T
    assert done_ns - sent_ns == pytest.approx(redis_ns + node_ns)


def test_a_line_that_is_slower_than_its_node_sets_the_pace(tmp_path: Path) -> None:
    class Paces(Waits):
        def __init__(self) -> None:
            super().__init__()
            self.last_ns: list[float] = []

        def batch(self, batch: Batch) -> None:
            self.last_ns.append(float(batch.first_ns[0] + batch.pace_ns[0] * batch.count[0]) - batch.message.sent_ns)

    loaded = loaded_from(tmp_path, scenario_text(nodes=1, clients=50, rate="50/s"))
    kept = Paces()
    made_world(loaded, made_model(**NO_WAITS), kept, egress_bytes_per_s=128 * 50 * 100.0).run()  # half of it needed
    assert kept.last_ns[0] == pytest.approx(10e6, rel=0.05)  # fifty frames at a hundred bursts a second
    assert kept.last_ns[-1] < kept.last_ns[0] * 1.1
    slow = Paces()
    made_world(loaded, made_model(**NO_WAITS), slow, egress_bytes_per_s=128 * 50 * 25.0).run()  # half of what is needed
    assert slow.last_ns[-1] > 20 * slow.last_ns[0]  # it never catches up
