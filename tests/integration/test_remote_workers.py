"""Workers that join a run over TCP, here on one host: the same account, and every way in which it can go wrong."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from fanlab.ledger.stripe import Kind, StripeReader
from fanlab.topology.labels import Marks
from support.node_process import wait_until
from support.party import TOKEN, Fanlab, Party
from support.processes import left_after
from support.running_system import files_with, has_redis, patient

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not has_redis(), reason="no redis-server: install one, or the extra fanlab[redis-server]"),
]

SHORT = patient("phases.measure=2s")
LONG = patient("phases.measure=40s")  # nobody waits for its end


@pytest.fixture
def party(tmp_path: Path) -> Iterator[Party]:
    with Party(tmp_path / "party") as party:
        yield party


def kinds(path: Path) -> set[Kind]:
    """What a stripe holds."""
    return {frame.kind for frame in StripeReader(path)}


def locust_worker(worker: Fanlab) -> psutil.Process:
    """The Locust worker that `fanlab worker` has started."""
    return next(child for child in worker.children() if "fanlab.load.worker" in child.cmdline())


def test_a_local_and_a_remote_worker_make_the_same_account_as_one(party: Party, tmp_path: Path) -> None:
    run = party.run("steady", "--trace", *SHORT)
    worker = party.worker()
    run.ends_with(0)
    worker.ends_with(0)
    split = party.summary()
    assert split["ledger"]["delivered"] == split["ledger"]["owed"] > 0
    assert split["evidence"]["crosscheck"] == "agrees"
    assert split["clock"] == {"basis": "one-boot", "offset_ms": 0, "bound_ms": 0, "drift_ppm": None, "exchanges": 12}
    with Party(tmp_path / "alone") as alone:
        alone.run("steady", *SHORT, expect=1, workers=0)
        alone.worker().ends_with(0)
        alone.started[0].ends_with(0)
        assert alone.summary()["ledger"] == split["ledger"], "and as one that is remote"
    for index in (1, 2):
        for role, kind in (("clients", Kind.DELIVERIES), ("publishers", Kind.OUTCOMES)):
            assert kind in kinds(party.rundir / "journal" / f"{role}-{index}.stripe"), "both had a share"
    [told] = party.manifest()["remote_workers"]
    assert (told["unit"], told["host"], told["clock_ahead_ns"]) == ("load-2", socket.gethostname(), 0)
    assert files_with(TOKEN, party.rundir) == []
    assert TOKEN not in run.text()
    assert list(party.temp.iterdir()) == []
    assert left_after(10, [], party.rundir) == []


def test_the_token_that_is_printed_lets_a_worker_in(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.party.TOKEN", "")
    run = party.run("steady", "--no-progress", *SHORT)
    said = wait_until(
        lambda: next((line for line in run.text().splitlines() if "--token" in line), None), "its command"
    )
    before, _, command = said.partition(": fanlab worker ")
    assert before == "waiting for 1 worker; on another host"
    worker = party.worker(*command.split()[2:], token="")
    worker.ends_with(0)
    run.ends_with(0)
    assert files_with(command.split()[-1], party.rundir) == []


def test_who_has_another_token_is_refused_and_the_run_goes_on_waiting(party: Party) -> None:
    run = party.run("steady", *SHORT)
    stranger = party.worker(token="another token, as long")
    stranger.ends_with(4)
    assert "the run refuses this worker: the token is not this run's" in stranger.text()
    assert run.process.poll() is None
    party.worker().ends_with(0)
    run.ends_with(0)


def test_a_worker_that_is_killed_spoils_the_measurement_at_once(party: Party) -> None:
    run, worker = party.run("steady", *LONG), party.worker()
    party.until_running()
    worker.process.send_signal(signal.SIGKILL)
    run.ends_with(3)
    said = "load-2 has died unasked, or the connection to"
    assert said in run.text()
    assert said in party.manifest()["error"]
    assert party.summary()["verdict"] == "invalid"
    assert left_after(20, [], party.temp) == [], "engines complete their journals and end"
    [folder] = party.temp.iterdir()
    marks = Marks.of_folder(folder)
    assert marks is not None
    assert marks.owner.gone()
    assert (folder / "load.json").exists(), "which fanlab sweep removes with the folder"


def test_a_locust_worker_that_dies_there_is_told_here_and_its_journals_come_home(party: Party) -> None:
    run, worker = party.run("steady", *LONG), party.worker()
    party.until_running()
    wait_until(lambda: any("clients" in child.cmdline() for child in worker.children()), "an engine")
    locust_worker(worker).send_signal(signal.SIGKILL)
    run.ends_with(3)
    worker.ends_with(3)
    assert "load-2 has died (-9)" in run.text()
    assert "the load worker has died: " in worker.text()
    stripe = StripeReader(party.rundir / "journal" / "clients-2.stripe")
    assert list(stripe)[-1].kind is Kind.END, "its engine has ended it in order"
    assert (party.rundir / "nodes" / "load-2.log").exists()
    assert list(party.temp.iterdir()) == []


def test_an_interrupted_run_has_its_journals_home(party: Party) -> None:
    run, worker = party.run("steady", *LONG), party.worker()
    party.until_running()
    run.process.send_signal(signal.SIGTERM)
    run.ends_with(130)
    worker.ends_with(0)
    assert party.manifest()["status"] == "aborted"
    assert kinds(party.rundir / "journal" / "clients-2.stripe") >= {Kind.START, Kind.END}
    assert list(party.temp.iterdir()) == []


def test_an_interrupted_worker_brings_its_journals_home(party: Party) -> None:
    run, worker = party.run("steady", *LONG), party.worker()
    party.until_running()
    worker.process.send_signal(signal.SIGTERM)
    worker.ends_with(130)
    run.ends_with(3)
    assert kinds(party.rundir / "journal" / "clients-2.stripe") >= {Kind.START, Kind.END}
    assert list(party.temp.iterdir()) == []


def test_a_run_that_is_killed_leaves_a_worker_that_keeps_what_it_has(party: Party) -> None:
    run, worker = party.run("steady", *LONG), party.worker()
    party.until_running()
    run.process.send_signal(signal.SIGKILL)
    run.wait()
    worker.ends_with(4)
    [kept] = party.temp.iterdir()
    assert f"it is in {kept}" in worker.text()
    assert {path.name for path in kept.rglob("*") if path.is_file()} == {
        "clients-2.stripe",
        "publishers-2.stripe",
        "load-2.log",
    }, "no configuration, which may hold a password"
    assert kinds(kept / "journal" / "clients-2.stripe") >= {Kind.START, Kind.END}
    assert left_after(20, [], party.rundir) == []


def test_a_run_that_never_begins_lets_its_workers_go(party: Party) -> None:
    run = party.run("steady", *SHORT, "--set", "topology.redis.config={maxmemory: lots}")
    worker = party.worker()
    run.ends_with(4)
    worker.ends_with(0)
    assert "the run is over before it began" in worker.text()


# A network that changes what it carries


@contextmanager
def spoiling(port: int, spoil: bytes, by: bytes) -> Iterator[int]:
    """A proxy before a port that replaces some bytes on their way there."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    here, _ = server.accept()
                except OSError:
                    return
                try:
                    there = socket.create_connection(("127.0.0.1", port))
                except OSError:  # the run is not up yet
                    here.close()
                    continue
                threading.Thread(target=carry, args=(here, there, spoil, by), daemon=True).start()
                threading.Thread(target=carry, args=(there, here, b"", b""), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]


def carry(source: socket.socket, sink: socket.socket, spoil: bytes, by: bytes) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data.replace(spoil, by) if spoil else data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()


def test_a_journal_that_was_changed_on_its_way_home_is_refused_and_told_on_both_ends(party: Party) -> None:
    run = party.run("steady", *SHORT)
    with spoiling(party.port, b'"role": "clients"', b'"role": "clientz"') as port:  # in the first frame of a stripe
        worker = party.worker(port=port)
        worker.ends_with(4)
        run.ends_with(3)
    assert "clients-2.stripe is refused: clients-2.stripe arrived damaged: its CRC is" in worker.text()
    assert "keeps what did not come home (clients-2.stripe:" in run.text()
    assert party.summary()["verdict"] == "invalid"
    journal = party.rundir / "journal"
    assert sorted(path.name for path in journal.glob("*2.stripe*")) == ["publishers-2.stripe"]
    [kept] = party.temp.iterdir()
    (kept / "journal" / "clients-2.stripe").rename(journal / "clients-2.stripe")  # as the hint says
    assert kinds(journal / "clients-2.stripe") >= {Kind.DELIVERIES}


# Mistakes on the command line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "steady", "--workers", "0"], "nobody would do the work"),
        (["run", "steady", "--expect-workers", "1", "--listen", "http://x"], "is no HOST:PORT"),
        (["run", "steady", "--system-host", "0.0.0.0"], "--system-host is an IPv4 address"),
        (["run", "steady", "--system-host", "10.0.0.1", "--backend", "external"], "--system-host is an IPv4 address"),
        (["worker", "--master", "h"], "--master: which port?"),
        (["worker", "--master", "h:port"], "--master: 'h:port' is no HOST:PORT"),
        (["worker"], "Missing option '--master'"),
    ],
)
def test_usage_errors(party: Party, words: list[str], said: str) -> None:
    done = party._start(words)
    done.ends_with(2)
    assert said in done.text()


def test_a_short_token_is_refused(party: Party) -> None:
    done = party._start(["run", "steady", "--expect-workers", "1"], FANLAB_TOKEN="short")
    done.ends_with(2)
    assert "16 characters or more" in done.text()


def test_a_matrix_is_many_runs_and_workers_join_one(party: Party, tmp_path: Path) -> None:
    from fanlab import resources

    scenario = (resources.folder("scenarios") / "steady.yaml").read_text() + "matrix: {seed: [1, 2]}\n"
    file = tmp_path / "matrix.yaml"
    file.write_text(scenario)
    done = party.run(str(file))
    done.ends_with(4)
    assert "choose with --set" in done.text()
