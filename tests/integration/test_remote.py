"""Another host joins a run: a network namespace behind a veth pair, sometimes with a boot id and a clock of its own."""

import re
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanlab import resources
from support.hosts import OtherHost, why_not
from support.node_process import wait_until
from support.party import TOKEN, Fanlab, Party
from support.running_system import RunningSystem, files_with, has_redis, patient

DOC = Path(__file__).resolve().parents[2] / "docs" / "beyond-one-machine.md"
AHEAD_S = 5000
SHORT = patient("phases.measure=2s")

_no_host, _no_clock = why_not(), why_not(clock=True)
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not has_redis(), reason="no redis-server: install one, or the extra fanlab[redis-server]"),
    pytest.mark.skipif(_no_host is not None, reason=f"no other host can be made here: {_no_host}"),
]
needs_clock = pytest.mark.skipif(_no_clock is not None, reason=f"no other clock can be made here: {_no_clock}")


@pytest.fixture(scope="module")
def host() -> Iterator[OtherHost]:
    with OtherHost() as host:
        yield host


@pytest.fixture(scope="module")
def system(host: OtherHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    with RunningSystem(tmp_path_factory.mktemp("theirs"), nodes=3, host=host.ours) as running:
        yield running


@pytest.fixture
def party(tmp_path: Path, host: OtherHost) -> Iterator[Party]:
    with Party(tmp_path / "party", host=host.ours) as party:
        yield party


def in_the_docs(text: str, system: RunningSystem, party: Party) -> str:
    """Words of the docs with their addresses and ports turned into those of this test."""
    ports = {"8765": system.ports[1], "8766": system.ports[2], "8767": system.ports[3], "6379": system.ports[0]}
    for port, ours in {**ports, "5557": party.port}.items():
        text = re.sub(rf":{port}\b", f":{ours}", text)
    return re.sub(r"\b10\.0\.0\.\d+\b", system.host, text).replace("redis://", f"redis://:{system.password}@")


def block(language: str, beginning: str) -> str:
    """The code of the docs in that language that begins so. There must be one."""
    [found] = [
        code
        for code in re.findall(rf"```{language}\n(.*?)```", DOC.read_text(), re.DOTALL)
        if code.startswith(beginning)
    ]
    return str(found)


def words_of(code: str, ours: str, party: Party) -> list[str]:
    """The words of a command of the docs after `fanlab`, with our address and port."""
    text = re.sub(r"\b10\.0\.0\.\d+\b", ours, code.replace(":5557", f":{party.port}"))
    return shlex.split(text)[1:]


def documented(party: Party, system: RunningSystem, beginning: str) -> list[str]:
    """The words of the command of the docs that begins so, after `fanlab`."""
    targets = party.folder / "targets.yaml"
    targets.write_text(in_the_docs(block("yaml", "# targets.yaml"), system, party))
    words = shlex.split(in_the_docs(block("sh", beginning), system, party))
    assert words[0] == "fanlab"
    return [str(targets) if word == "targets.yaml" else word for word in words[1:]]


BY_FILE = "fanlab run steady --backend external --targets targets.yaml --allow-remote 10.0.0.5 --allow-remote 10.0.0.6"
RUNS = ("fanlab run steady --backend external --node", f"{BY_FILE}\n")
RUN_WITH_WORKERS = f"{BY_FILE} --expect"
RUN_HERE = "fanlab run quickstart"
WORKER = "fanlab worker"


def test_every_command_of_the_docs_is_run_here() -> None:
    commands = re.findall(r"```sh\n(.*?)```", DOC.read_text(), re.DOTALL)
    all_of_them = (*RUNS, RUN_WITH_WORKERS, RUN_HERE, WORKER)
    assert len(commands) == len(all_of_them)
    for beginning in all_of_them:
        block("sh", beginning)


@pytest.mark.parametrize("beginning", RUNS)
def test_a_system_at_another_address_is_accounted_for(party: Party, system: RunningSystem, beginning: str) -> None:
    run = party._start([*documented(party, system, beginning), "--out", str(party.rundir), *SHORT])
    run.ends_with(0)
    ledger = party.summary()["ledger"]
    assert ledger["delivered"] == ledger["owed"] > 0
    assert files_with(system.password, party.rundir) == []


def joined(party: Party, system: RunningSystem, before: list[str], *more: str) -> tuple[Fanlab, Fanlab]:
    """The run and the worker of the docs, with the worker on that host."""
    run = party._start([*documented(party, system, RUN_WITH_WORKERS), "--out", str(party.rundir), *more])
    command = documented(party, system, WORKER)
    return run, party._start(command, before, TMPDIR=str(party.temp))


def exact(summary: dict[str, Any]) -> dict[str, Any]:
    """The ledger of a run in which nothing broke."""
    ledger: dict[str, Any] = summary["ledger"]
    assert ledger["delivered"] == ledger["owed"] > 0
    assert ledger["published"] > 0
    return ledger


def test_a_worker_on_another_host_makes_the_same_account_as_one(
    party: Party, system: RunningSystem, host: OtherHost, tmp_path: Path
) -> None:
    run, worker = joined(party, system, host.before(), *SHORT, "--trace")
    run.ends_with(0)
    worker.ends_with(0)
    ledger = exact(party.summary())
    assert party.summary()["evidence"]["crosscheck"] == "agrees"
    [told] = party.manifest()["remote_workers"]
    assert (told["unit"], told["address"]) == ("load-2", host.theirs)
    assert party.summary()["clock"]["basis"] == "one-boot", "the same clock, on another network"
    for secret in (system.password, TOKEN):
        assert files_with(secret, party.rundir) == []
    assert list(party.temp.iterdir()) == []
    with Party(tmp_path / "alone", host=host.ours) as alone:
        words = ["--allow-remote", host.ours, "--out", str(alone.rundir), *SHORT]
        alone._start(["run", "steady", *system.options(), *words]).ends_with(0)
        assert exact(alone.summary()) == ledger


@needs_clock
def test_a_host_with_a_clock_of_its_own_is_put_right_and_the_bound_is_told(
    party: Party, system: RunningSystem, host: OtherHost
) -> None:
    boot_id = party.folder / "boot_id"
    boot_id.write_text(f"{uuid.uuid4()}\n")
    run, worker = joined(party, system, host.with_clock(boot_id, ahead_s=AHEAD_S), *SHORT, "--trace")
    worker.ends_with(0)
    run.ends_with(0)
    summary = party.summary()
    exact(summary)
    assert summary["evidence"]["crosscheck"] == "agrees"
    [told] = party.manifest()["remote_workers"]
    assert told["boot_id"] == boot_id.read_text().strip()
    assert abs(told["clock_ahead_ns"] - AHEAD_S * 10**9) <= told["clock_bound_ns"]
    clock = summary["clock"]
    assert clock["basis"] == "exchange"
    assert abs(clock["offset_ms"]) <= clock["bound_ms"], "what is left of it is nothing, within the bound"
    assert re.search(r"clock ± [0-9.]+ (ms|µs)", run.text())
    assert "put right, ±" in (party.rundir / "report.md").read_text()
    slowest = summary["latency_ms"]["max"]
    assert slowest is None or 0 < slowest < AHEAD_S * 1000 / 2
    assert summary["evidence"]["early"] <= summary["latency_ms"]["n"]


@needs_clock
def test_losses_over_two_clocks_are_explained(party: Party, system: RunningSystem, host: OtherHost) -> None:
    boot_id = party.folder / "boot_id"
    boot_id.write_text(f"{uuid.uuid4()}\n")
    fault = ["--set", "faults=[{kind: redis-kill-pubsub, at: 700ms}]", "--set", "gates=[]"]
    run, worker = joined(party, system, host.with_clock(boot_id, ahead_s=-1 * 60), *SHORT, *fault)
    worker.ends_with(0)
    run.ends_with(0)
    summary = party.summary()
    assert summary["loss"]["unexplained"] == 0
    ledger = summary["ledger"]
    assert ledger["owed"] == ledger["delivered"] + ledger["lost"] + ledger["indeterminate"]
    assert 0 < (summary["latency_ms"]["p50"] or 1) <= (summary["latency_ms"]["max"] or 1) < 30_000
    assert summary["evidence"]["early"] < summary["latency_ms"]["n"] / 2, "its clock is behind, and put right"


@needs_clock
def test_a_system_that_fanlab_starts_is_broken_and_measured_from_another_host(party: Party, host: OtherHost) -> None:
    """The load there, the system here, and a crash: as in the docs."""
    boot_id = party.folder / "boot_id"
    boot_id.write_text(f"{uuid.uuid4()}\n")
    run = party._start([*words_of(block("sh", RUN_HERE), host.ours, party), "--out", str(party.rundir), *patient()])
    command = words_of(block("sh", WORKER), host.ours, party)
    worker = party._start(command, host.with_clock(boot_id, ahead_s=AHEAD_S), TMPDIR=str(party.temp))
    worker.ends_with(0)
    run.ends_with(0)
    summary = party.summary()
    assert summary["loss"]["unexplained"] == 0
    assert {name for name, lost in summary["loss"]["by_node"].items() if lost} == {"node-2"}
    assert summary["clients"]["reconnects"] == 20
    assert summary["evidence"]["node_journals"] == ["node-1", "node-2", "node-3"]
    assert [path.name for path in sorted((party.rundir / "journal").glob("*.stripe"))] == [
        "clients-1.stripe",
        "publishers-1.stripe",
        "witness.stripe",
    ], "all of the load is there"
    assert party.manifest()["redis"]["url"].startswith(f"redis://:***@{host.ours}:")


def test_a_cable_that_is_pulled_spoils_the_measurement(system: RunningSystem, tmp_path: Path) -> None:
    with (
        OtherHost() as host,
        RunningSystem(tmp_path / "theirs", nodes=3, host=host.ours) as own,
        Party(tmp_path / "party", host=host.ours) as party,
    ):
        assert own.host != system.host
        run, worker = joined(party, own, host.before(), *patient("phases.measure=60s"))
        party.until_running()
        host.unplug()
        run.ends_with(3)
        assert "or the connection to" in run.text()
        worker.ends_with(4)
        assert "did not go home" in worker.text()
        [kept] = party.temp.iterdir()
        assert (kept / "journal" / "clients-2.stripe").exists()


def test_a_system_on_loopback_is_not_for_other_hosts(party: Party, host: OtherHost) -> None:
    run = party.run("steady", *SHORT)
    worker = party.worker(before=host.before())
    run.ends_with(4)
    said = "cannot reach 127.0.0.1, which means something else there"
    wait_until(lambda: said in run.text(), said, 5)
    worker.ends_with(0)


def test_the_scenario_of_the_docs_is_bundled() -> None:
    assert resources.find_scenario("steady") is not None
