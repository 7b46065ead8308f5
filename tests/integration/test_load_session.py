"""The whole load against real nodes and a real Redis: every message accounted for in the stripes."""

import asyncio
import csv
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from conftest import free_port
from fanlab.clock import NS_PER_MS, NS_PER_S, now_ns
from fanlab.errors import EnvironmentFailure, MeasurementError, NodeFailure
from fanlab.ledger.records import DELIVERY_DTYPE, INTENT_DTYPE, OUTCOME_DTYPE, Status
from fanlab.ledger.stripe import Kind, StripeReader, json_lines
from fanlab.load.session import LoadSession
from fanlab.rundir import RunDir
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan
from fanlab.topology.backend import UnitState
from support.load_system import Processes

pytestmark = pytest.mark.system

WARM_UP_NS, MEASURE_NS = 500 * NS_PER_MS, 1500 * NS_PER_MS


def scenario(**changes: Any) -> Scenario:
    fields: dict[str, Any] = {
        "name": "load-test",
        "question": "Does every message arrive, and is every one accounted for?",
        "topology": {"nodes": {"count": 2}},
        "channels": ["news", "jobs"],
        "clients": [
            {"group": "both", "count": 7, "spawn_rate": "100/s", "channels": ["news", "jobs"]},
            {"group": "late", "count": 3, "spawn_rate": "100/s", "channels": ["news"], "join": "300ms"},
        ],
        "publishers": [
            {"name": "ticker", "channel": "news", "count": 2, "rate": "50/s"},
            {"name": "jobs", "channel": "jobs", "rate": "20/s", "payload": "1kB"},
        ],
        "phases": {"warm_up": "500ms", "measure": "1500ms"},
    }
    return Scenario.model_validate({**fields, **changes})


class System:
    """Redis, two nodes, and a run directory."""

    def __init__(self, processes: Processes, rundir: RunDir, nodes: list[Any], redis_url: str) -> None:
        self.processes, self.rundir, self.nodes, self.redis_url = processes, rundir, nodes, redis_url

    def session(self, what: Scenario, workers: int = 1, **more: Any) -> LoadSession:
        return LoadSession(
            self.processes,  # type: ignore[arg-type]
            what,
            make_plan(what),
            self.rundir,
            run_tag=77,
            workers=workers,
            **more,
        )

    async def start(self, load: LoadSession) -> None:
        await load.launch()
        await load.start(self.nodes, self.redis_url)

    def stripes(self, role: str) -> list[StripeReader]:
        return [StripeReader(path) for path in sorted(self.rundir.journal.glob(f"{role}-*.stripe"))]


@pytest.fixture
async def system(tmp_path: Path, redis_server: str) -> AsyncIterator[System]:
    rundir = RunDir(tmp_path / "run")
    rundir.create()
    processes = Processes()
    try:
        nodes = [await processes.start_node(k, free_port(), redis_server, rundir.logs) for k in range(2)]
        yield System(processes, rundir, nodes, redis_server)
    finally:
        await processes.close()


def records(stripes: list[StripeReader], kind: Kind, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    frames = [np.frombuffer(frame.payload, dtype) for stripe in stripes for frame in stripe if frame.kind is kind]
    return np.concatenate(frames) if frames else np.empty(0, dtype)


def events(stripes: list[StripeReader]) -> list[dict[str, Any]]:
    return [event for stripe in stripes for frame in stripe if frame.kind is Kind.EVENTS for event in json_lines(frame)]


async def begin(load: LoadSession) -> int:
    start_ns = now_ns() + 200 * NS_PER_MS
    zero_ns = start_ns + WARM_UP_NS
    await load.begin(start_ns, zero_ns, zero_ns + MEASURE_NS)
    return zero_ns


async def quiet(load: LoadSession, quiet_ns: int = 400 * NS_PER_MS, deadline_s: float = 20) -> None:
    end_ns = now_ns() + round(deadline_s * NS_PER_S)
    while now_ns() < end_ns:
        snapshot = load.snapshot()
        if (snapshot.as_of_ns or 0) - (snapshot.last_delivery_ns or now_ns()) >= quiet_ns and not snapshot.reconnecting:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"never quiet: {load.snapshot()}")


async def ended(stripe: StripeReader) -> None:
    while True:
        if list(stripe)[-1].kind is Kind.END:
            return
        await asyncio.sleep(0.05)


async def test_what_a_node_refuses_is_told_in_its_own_words(system: System) -> None:
    names = [f"c{number}" for number in range(101)]
    ticker = {"name": "ticker", "channel": "c0", "rate": "1/s"}
    readers = {"group": "readers", "count": 1, "channels": names}
    load = system.session(scenario(channels=names, clients=[readers], publishers=[ticker]))
    try:
        await system.start(load)
        with pytest.raises(EnvironmentFailure, match=r"refused .*: too many channels: 101; at most 100"):
            await load.connect(3)
    finally:
        await load.close()


async def test_a_publisher_of_its_own_for_each_of_many_channels_costs_no_time(system: System) -> None:
    names = [f"c{number}" for number in range(1000)]
    publishers = [{"name": f"p-{name}", "channel": name, "rate": "1/min"} for name in names]
    readers = {"group": "readers", "count": 1, "channels": names[:1]}
    load = system.session(scenario(channels=names, clients=[readers], publishers=publishers), workers=2)
    try:
        await system.start(load)
        assert (await load.connect(60)).connected == 1, "with a class for each, Locust took minutes"
    finally:
        await load.close()


@pytest.mark.parametrize("workers", [1, 2])
async def test_every_message_is_accounted_for(system: System, workers: int) -> None:
    load = system.session(scenario(), workers)
    try:
        await system.start(load)
        # Every engine is up before the first order: else orders queue up and no spawn rate is kept.
        assert len(system.stripes("clients")) == len(system.stripes("publishers")) == workers
        snapshot = await load.connect(30)
        assert snapshot.connected == snapshot.clients == 7
        zero_ns = await begin(load)
        await load.published(30)
        await quiet(load)
        final = load.snapshot()
        await load.leave()
    finally:
        await load.close()
    clients, publishers = system.stripes("clients"), system.stripes("publishers")
    assert len(clients) == workers
    intents, outcomes = (
        records(publishers, Kind.INTENTS, INTENT_DTYPE),
        records(publishers, Kind.OUTCOMES, OUTCOME_DTYPE),
    )
    assert Counter(intents["stream"].tolist()) == {0: 100, 1: 100, 2: 40}  # two seconds of 50/s, 50/s and 20/s
    assert sorted(zip(intents["stream"].tolist(), intents["seq"].tolist(), strict=True)) == sorted(
        zip(outcomes["stream"].tolist(), outcomes["seq"].tolist(), strict=True)
    )
    assert set(outcomes["status"].tolist()) == {Status.OK}
    assert final.sent == 240
    deliveries = records(clients, Kind.DELIVERIES, DELIVERY_DTYPE)
    keys = Counter(zip(*(deliveries[name].tolist() for name in ("client", "stream", "seq")), strict=True))
    assert set(keys.values()) == {1}
    # Clients 0 to 6 hear everything; 7 to 9 come 300 ms after time 0 and hear `news` from then on.
    expected = {
        (client, s, q) for client in range(7) for s, n in ((0, 100), (1, 100), (2, 40)) for q in range(1, n + 1)
    }
    assert {key for key in keys if key[0] < 7} == expected
    late = deliveries[deliveries["client"] >= 7]
    assert set(late["client"].tolist()) == {7, 8, 9}
    assert set(late["stream"].tolist()) == {0, 1}
    assert late["recv_ns"].min() > zero_ns + 300 * NS_PER_MS
    history = events(clients)
    assert sorted(event["client"] for event in history if event["ev"] == "left") == list(range(10))
    assert all(event["own"] and event["code"] == 1000 for event in history if event["ev"] == "closed")
    assert {event["node"] for event in history if event["ev"] == "open"} == {0, 1}
    assert all(stripe.closed and not stripe.torn and not stripe.corrupt for stripe in (*clients, *publishers))
    assert final.deliveries == len(deliveries)
    with (system.rundir.locust / "locust_stats.csv").open() as file:
        counted = {row["Name"]: int(row["Request Count"]) for row in csv.DictReader(file)}
    assert counted["deliver news"] + counted["deliver jobs"] == len(deliveries)
    assert (counted["news"], counted["jobs"]) == (200, 40)


async def test_clients_of_a_dead_node_come_back_elsewhere(system: System) -> None:
    what = scenario(
        clients=[
            {"group": "all", "count": 6, "channels": ["news"], "reconnect": {"initial": "200ms", "jitter": 0}},
        ]
    )
    load = system.session(what)
    try:
        await system.start(load)
        await load.connect(30)
        await begin(load)
        await asyncio.sleep(0.8)
        await system.processes.kill("node-2")
        await load.published(30)
        await quiet(load)
        assert load.snapshot().connected == 6
        await load.leave()
    finally:
        await load.close()
    history = events(system.stripes("clients"))
    lost = [event for event in history if event["ev"] == "closed" and not event["own"]]
    assert sorted(event["client"] for event in lost) == [1, 3, 5]
    assert {event["code"] for event in lost} == {1006}
    for client in (1, 3, 5):
        mine = [event for event in history if event.get("client") == client]
        names = [event["ev"] for event in mine]
        start = names.index("closed")
        assert names[start : start + 5] == ["closed", "connecting", "open", "subscribing", "subscribed"]
        assert mine[start + 1]["node"] == 0
        assert mine[start + 1]["t"] - mine[start]["t"] >= 198 * NS_PER_MS  # the loop's clock counts whole ms


async def test_a_dead_engine_or_worker_spoils_the_run(system: System) -> None:
    told: list[Exception] = []
    load = system.session(scenario(), on_failure=told.append)
    try:
        await system.start(load)
        await load.connect(30)
        await begin(load)
        await system.processes.kill("load-1")
        with pytest.raises(MeasurementError, match="load-1 has died"):
            await load.published(10)
        assert told
    finally:
        await load.close()
    # Its engines noticed, and completed their journals.
    for role in ("clients", "publishers"):
        (stripe,) = system.stripes(role)
        async with asyncio.timeout(10):
            await ended(stripe)
        assert b"orphaned" in list(stripe)[-1].payload


async def test_a_process_that_cannot_start_is_told_with_its_last_words(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    load = system.session(scenario())
    try:
        with pytest.raises(NodeFailure, match="load-master ended") as failure:
            await system.start(load)
        assert "encodings" in str(failure.value)  # what an interpreter without its library says
    finally:
        await load.close()


async def test_what_waits_to_be_configured_ends_with_the_session(system: System) -> None:
    """The system may never come up; Locust's processes have loaded meanwhile, or are still at it."""
    load = system.session(scenario(), workers=2)
    await load.launch()
    units = ("load-master", "load-1", "load-2")
    async with asyncio.timeout(30):
        while not all(waits(system, unit) for unit in units):
            await asyncio.sleep(0.02)
    await load.close()
    async with asyncio.timeout(10):
        while any(system.processes.state(unit) is not UnitState.GONE for unit in units):
            await asyncio.sleep(0.02)
    assert [(system.rundir.logs / f"{unit}.log").read_text("utf-8") for unit in units] == ["", "", ""]


def waits(system: System, unit: str) -> bool:
    """Whether it is connected to its parent."""
    process = psutil.Process(system.processes.by_name[unit].pid)
    return any(connection.type == socket.SOCK_STREAM for connection in process.net_connections("unix"))


async def test_a_full_disk_is_the_machines_fault(system: System) -> None:
    (system.rundir.journal / "publishers-1.stripe").touch()  # as good as full: it cannot be created
    load = system.session(scenario())
    try:
        with pytest.raises(EnvironmentFailure, match=r"cannot go on: File exists"):
            await start_and_connect(system, load)
    finally:
        await load.close()


async def start_and_connect(system: System, load: LoadSession) -> None:
    await system.start(load)
    await load.connect(30)


@pytest.mark.parametrize("url", ["rediss://127.0.0.1:1/0", "http://127.0.0.1", "redis://no-such-host.invalid"])
async def test_an_address_that_publishers_cannot_use_is_refused_at_once(system: System, url: str) -> None:
    system.redis_url = url
    load = system.session(scenario())
    try:
        with pytest.raises(EnvironmentFailure, match="Redis"):
            await system.start(load)
    finally:
        await load.close()


async def test_no_redis_is_said_at_once(system: System) -> None:
    system.redis_url = f"redis://127.0.0.1:{free_port()}/0"
    load = system.session(scenario())
    try:
        await system.start(load)
        with pytest.raises(EnvironmentFailure, match="cannot connect to Redis"):
            await load.connect(3)
    finally:
        await load.close()
