"""What looks for leftovers finds them: a volume, a network and rules of a packet filter, planted one by one."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fanlab.errors import EnvironmentFailure
from fanlab.topology import packetfilter
from fanlab.topology.labels import Marks, Owner
from fanlab.topology.netns import Namespace, throwaway
from support.leftovers import Traces

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]


@dataclass(frozen=True, slots=True)
class Looking:
    """Traces of a run that there was not, and what it takes to plant some."""

    traces: Traces
    marks: Marks
    api: Any


@pytest.fixture
def looking(engine: Any, tmp_path: Path) -> Looking:
    marks = Marks.new(Owner.of(os.getpid()))
    (tmp_path / "temporary").mkdir()
    return Looking(Traces(tmp_path / "run", tmp_path / "temporary", engine, run_ids={marks.run_id}), marks, engine)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    if (why := packetfilter.refusal()) is not None:
        pytest.skip(f"no rule can be planted here: {why}")
    with throwaway() as space:
        yield space


@pytest.mark.parametrize("labelled", [True, False])
def test_a_volume_is_found_by_its_label_or_by_its_name(looking: Looking, labelled: bool) -> None:
    assert looking.traces.left() == []
    labels = looking.marks.labels("data") if labelled else {}
    name = f"data-{looking.marks.short}" if labelled else looking.marks.name("data")
    looking.api.create_volume(name, labels=labels)
    try:
        assert looking.traces.left() == [f"volume {name}"]
    finally:
        looking.api.remove_volume(name)
    assert looking.traces.left() == []


@pytest.mark.parametrize("program", ["iptables", "iptables-legacy", "iptables-nft"])
def test_a_rule_on_the_runs_bridge_is_found_whichever_program_made_it(
    looking: Looking, namespace: Namespace, program: str
) -> None:
    name = looking.marks.name("network")
    network = looking.api.create_network(name, labels=looking.marks.labels("network"))["Id"]
    try:
        looking.traces.note(os.getpid())  # while it is there
    finally:
        looking.api.remove_network(network)
    traces = looking.traces
    traces.processes.clear()
    traces.entering = ("nsenter", f"--net=/proc/{namespace.pid}/ns/net", "--")
    bridge = f"br-{network[:12]}"
    assert traces.bridges == {bridge}
    assert traces.left() == []
    rules = [f"-A FORWARD -i {bridge} -j ACCEPT", f"-A FORWARD -i {bridge[:-1]} -j ACCEPT"]  # the second is another's
    try:
        for rule in rules:
            namespace.run([program, *rule.split()])
    except EnvironmentFailure as error:
        pytest.skip(f"{program} makes no rule here: {error.message}")
    assert traces.left() == [f"iptables: {rules[0]}"]
    namespace.run([program, *rules[0].replace("-A", "-D").split()])
    assert traces.left() == []
