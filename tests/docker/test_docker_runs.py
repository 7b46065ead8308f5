"""Scenarios in containers: the same answers as from processes, an account that adds up, units that may do little."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fanlab.ledger.stripe import StripeReader
from fanlab.load import bulk
from fanlab.topology.labels import OWNER, RUN, UNIT, Owner
from support.answers import hit_by_the_crash_alone
from support.docker_runs import Labelled, command, eventually, fanlab, run_id_of, summary_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

STEADY = """
name: eight
question: Do eight throttled nodes and two workers lose anything?
seed: 3
topology:
  nodes: {kind: websockets, count: 8, cpus: 0.15, memory: 96MB}
  redis: {cpus: 0.5, memory: 64MB, config: {maxmemory: 32mb, client-output-buffer-limit: "pubsub 16mb 4mb 30"}}
channels: [news]
clients:
  - {group: readers, count: 32, spawn_rate: 50/s, channels: [news]}
publishers:
  - {name: ticker, channel: news, rate: 40/s}
phases: {warm_up: 500ms, measure: 5s, drain: {quiet: 500ms, deadline: 20s}}
"""
NODES, WORKERS, PORT_OF_NODES = 8, 2, "8765/tcp"


def _adds_up(summary: dict[str, Any]) -> None:
    ledger = summary["ledger"]
    assert ledger["owed"] == ledger["delivered"] + ledger["lost"] + ledger["indeterminate"]
    assert summary["evidence"]["crosscheck"] == "agrees"
    assert summary["loss"]["unexplained"] == 0
    assert [ledger[name] for name in ("duplicated", "reordered", "unexpected", "disagreed", "corrupted")] == [0] * 5


@pytest.mark.parametrize(("scenario", "clients_hit"), [("quickstart", 20), ("node-crash", 30)])
def test_a_killed_node_costs_its_own_clients_alone(
    engine: Any, labelled: Labelled, tmp_path: Path, scenario: str, clients_hit: int
) -> None:
    del engine
    out = tmp_path / "run"
    summary = summary_of(fanlab(scenario, "--json", "--trace", out=out))
    _adds_up(summary)
    assert summary["verdict"] == "pass"
    assert summary["backend"] == "docker"
    hit_by_the_crash_alone(summary)
    assert summary["clients"]["reconnects"] == clients_hit
    assert summary["clients"]["never_returned"] == 0
    (fault,) = summary["loss"]["by_fault"]
    assert fault["measured"] == summary["ledger"]["lost"] > 0
    assert summary["faults"][0]["confirmed"] is not None
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["unplanned_exits"] == []
    assert sorted(manifest["journaling_nodes"]) == ["node-1", "node-2", "node-3"]
    assert labelled.everything(manifest["backend_facts"]["run_id"]) == []
    start, *_ = StripeReader(out / "journal" / "clients-1.stripe")
    if bulk.find()[0] is not None:
        assert json.loads(start.payload)["receive"] == "compiled", "in the container as here"
    sampled = {line.split(",")[2] for line in (out / "samples.csv").read_text().splitlines() if ",cpu," in line}
    assert {"node-1", "node-2", "node-3", "redis", "load-1/clients", "load-1/publishers", "witness"} <= sampled


def test_two_workers_account_exactly_as_one(engine: Any, tmp_path: Path) -> None:
    del engine
    counts = []
    for workers in ("1", "2"):
        words = ("two-channels", "--json", "--trace", "--workers", workers)
        summary = summary_of(fanlab(*words, out=tmp_path / workers))
        _adds_up(summary)
        counts.append((summary["ledger"], summary["clients"]["connected"]))
    assert counts[0] == counts[1]
    assert counts[0][0]["delivered"] == counts[0][0]["owed"] == 3600
    assert {path.name for path in (tmp_path / "2" / "journal").glob("clients-*.stripe")} == {
        "clients-1.stripe",
        "clients-2.stripe",
    }


def test_eight_throttled_nodes_at_once_and_what_their_containers_may_do(
    engine: Any, labelled: Labelled, tmp_path: Path
) -> None:
    scenario, out = tmp_path / "eight.yaml", tmp_path / "run"
    scenario.write_text(STEADY)
    argv = [*command(str(scenario), "--json", "--trace", "--workers", str(WORKERS), out=out), "--no-progress"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            run_id = eventually(lambda: run_id_of(out, status="running"), 300, "the system to be up")
            units = NODES + WORKERS + len(("redis", "load-master", "witness"))
            eventually(lambda: len(labelled.containers(run_id)) == units, 60, "all containers")
            found = [engine.inspect_container(each["Id"]) for each in labelled.containers(run_id)]
            networks = engine.networks(filters={"label": f"{RUN}={run_id}"})
            stdout, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 0, stderr
    summary = json.loads(stdout)
    _adds_up(summary)
    assert summary["ledger"]["lost"] == summary["ledger"]["indeterminate"] == 0
    assert summary["ledger"]["delivered"] == 32 * summary["ledger"]["published"]

    (network,) = networks
    owner = Owner.parse(network["Labels"][OWNER])
    assert owner.boot_id
    assert not owner.alive(), "its warden has ended with the run"
    by_unit = {each["Config"]["Labels"][UNIT]: each for each in found}
    assert len(by_unit) == units
    for unit, container in by_unit.items():
        _is_confined(container, network["Name"])
        assert container["Name"] == f"/fanlab-{run_id[:8]}-{unit}"
        assert container["Config"]["Labels"][OWNER] == str(owner)
    limits = {(c["HostConfig"]["CpuQuota"], c["HostConfig"]["Memory"]) for u, c in by_unit.items() if u[:4] == "node"}
    assert limits == {(15_000, 96_000_000)}
    assert by_unit["redis"]["HostConfig"]["Memory"] == 64_000_000
    assert set(by_unit["node-1"]["HostConfig"]["PortBindings"]) == {PORT_OF_NODES}
    assert {mount["Destination"] for mount in by_unit["node-1"]["Mounts"]} == {"/journal/node-1.jsonl"}
    assert labelled.everything(run_id) == []


def _is_confined(container: dict[str, Any], network: str) -> None:
    host, config = container["HostConfig"], container["Config"]
    assert config["User"].split(":")[0] not in ("", "0", "root")
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["ReadonlyRootfs"] is True
    assert host["Init"] is True
    assert 0 < host["PidsLimit"] <= 1024
    assert host["NetworkMode"] == network
    assert set(container["NetworkSettings"]["Networks"]) == {network}
    bindings = [binding for port in (host["PortBindings"] or {}).values() for binding in port]
    assert {binding["HostIp"] for binding in bindings} <= {"127.0.0.1"}
    published = [each for port in container["NetworkSettings"]["Ports"].values() for each in port or []]
    assert {each["HostIp"] for each in published} <= {"127.0.0.1"}
    assert not any("docker.sock" in mount["Source"] or mount["Type"] == "volume" for mount in container["Mounts"])
