"""docker-compose.yml by the README's own lines, with a real Docker Compose: its UI, three workers, a load that counts.

FANLAB_COMPOSE may name a Docker Compose; it is put where the docker command looks for its plugins.
"""

import json
import os
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fanlab import resources
from fanlab.clock import now_ns
from fanlab.scenario.loader import load
from fanlab.scenario.plan import make_plan
from fanlab.topology import compose
from fanlab.topology.engine import named_host
from fanlab.topology.ports import reserve
from support.docker_runs import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]  # images may have to be built

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.compile(r"## By hand with Docker Compose\n.*?```sh\n(.*?)```", re.DOTALL)
READERS = 30
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Compose:
    """Lines for a shell, in the checkout, with the environment that they need here."""

    environment: dict[str, str]

    def run(self, line: str) -> str:
        """What the line prints. A line that fails fails the test, with its own words."""
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def project(self) -> str:
        """Its name, which all that it makes bears as a label."""
        return self.environment["COMPOSE_PROJECT_NAME"]


@dataclass(frozen=True, slots=True)
class WebUi:
    """What Locust's page asks for."""

    port: int

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def stats(self) -> dict[str, Any]:
        return dict(json.loads(self.get("/stats/requests")))

    def start(self, users: int) -> None:
        form = urllib.parse.urlencode({"user_count": users, "spawn_rate": 100}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/swarm", form, timeout=10) as answer:
            assert json.load(answer)["success"]


@pytest.fixture(scope="module")
def docker_compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """`docker compose`, named or the machine's own; skips visibly without, fails if FANLAB_REQUIRE_DOCKER=1."""
    port = reserve()
    environment = {
        **os.environ,
        "COMPOSE_PROJECT_NAME": f"fanlab-test-{os.getpid()}-{now_ns():x}",
        "FANLAB_WEB_PORT": str(port.port),
    }
    if named := os.environ.get("FANLAB_COMPOSE"):
        config = tmp_path_factory.mktemp("docker")
        (config / "cli-plugins").mkdir()
        (config / "cli-plugins" / "docker-compose").symlink_to(named)
        environment["DOCKER_CONFIG"] = str(config)
        if "://" in (host := named_host()):
            environment["DOCKER_HOST"] = host  # that configuration has no contexts
    argv = [shutil.which("docker") or "docker", "compose", "version"]
    try:
        version = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False).stdout
    except OSError:
        version = ""
    if not re.search(r"\bv?[2-9]\.", version):
        message = "no Docker Compose v2: install docker-compose-plugin, name one in FANLAB_COMPOSE, or see .ci/engine"
        if os.environ.get("FANLAB_REQUIRE_DOCKER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    yield Compose(environment)
    port.close()


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """The README's, without their comments."""
    found = SECTION.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    return [line.partition("#")[0].strip() for line in found[1].splitlines()]


@pytest.fixture
def brought_up(engine: Any, docker_compose: Compose, lines: list[str]) -> Iterator[Compose]:
    """By all lines that begin with `docker compose up`; taken down by the last line, and nothing is left."""
    filters = {"label": f"com.docker.compose.project={docker_compose.project}"}
    try:
        for line in lines:
            if line.startswith("docker compose up"):
                docker_compose.run(line)
        yield docker_compose
    finally:
        docker_compose.run(lines[-1])
        left = [*engine.containers(all=True, filters=filters), *engine.networks(filters=filters)]
        left += engine.volumes(filters=filters)["Volumes"] or []
        docker_compose.run("docker compose down --rmi local")
    assert left == []
    assert engine.images(filters=filters) == []


@pytest.mark.parametrize("path", sorted(resources.folder("scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_compose_takes_what_is_made_of_each_scenario(docker_compose: Compose, path: Path, tmp_path: Path) -> None:
    (loaded,) = load(path)
    plan = make_plan(loaded.scenario)
    made = tmp_path / "compose.yaml"
    made.write_text(compose.render(loaded.scenario, plan, compose.look_up(plan, ROOT), path.name), encoding="utf-8")
    read = json.loads(docker_compose.run(f"docker compose --project-directory . -f '{made}' config --format json"))
    nodes = {node.id for node in plan.nodes}
    assert read["services"].keys() == {"redis", "locust-master", "locust-worker", *nodes}
    published = [port for service in read["services"].values() for port in service.get("ports", [])]
    assert len(published) == len(nodes) + 1
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}
    for node in plan.nodes:
        told = read["services"][node.id]["environment"]
        assert {name: told[name] for name in node.env} == node.env


def test_by_the_readmes_lines(engine: Any, brought_up: Compose, lines: list[str]) -> None:
    filters = {"label": f"com.docker.compose.project={brought_up.project}"}
    containers = [engine.inspect_container(each["Id"]) for each in engine.containers(filters=filters)]
    services = [each["Config"]["Labels"]["com.docker.compose.service"] for each in containers]
    workers = ["locust-worker"] * 3
    assert sorted(services) == ["locust-master", *workers, "node-1", "node-2", "node-3", "redis"]
    for container in containers:
        may_do_next_to_nothing(container)

    ui = WebUi(int(brought_up.environment["FANLAB_WEB_PORT"]))
    assert "Locust" in ui.get("/")
    eventually(lambda: len(ui.stats()["workers"]) == 3, PATIENCE_S, "three workers")
    ui.start(READERS + 1)
    eventually(lambda: clients(brought_up) == [READERS // 3] * 3, PATIENCE_S, "a third of the clients on each node")
    eventually(lambda: count(ui.stats(), "deliver news") >= READERS * 100, PATIENCE_S, "deliveries")
    eventually(lambda: count(ui.stats(), "news") >= 100, PATIENCE_S, "publishes")
    stats = ui.stats()
    assert sorted(worker["user_count"] for worker in stats["workers"]) == [10, 10, 11]
    assert [entry["num_failures"] for entry in stats["stats"]] == [0] * len(stats["stats"])
    assert stats["errors"] == []

    said = {line: brought_up.run(line) for line in lines if not re.match("docker compose (up|down)", line)}
    assert re.fullmatch(r"127\.0\.0\.1:\d+\n", said["docker compose port node-1 8765"])
    assert said["docker compose exec redis redis-cli pubsub numsub news"].split() == ["news", "3"]
    eventually(lambda: sum(clients(brought_up)) == READERS, PATIENCE_S, "every client back")


def test_the_readmes_lines_end_as_they_are_meant_to(lines: list[str]) -> None:
    assert lines[0].startswith("docker compose up")
    assert [line for line in lines if line.startswith("docker compose down")] == [lines[-1]]
    assert any("--scale locust-worker=3" in line for line in lines)


def may_do_next_to_nothing(container: dict[str, Any]) -> None:
    host, config = container["HostConfig"], container["Config"]
    assert config["User"] == "65532:65532"
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["ReadonlyRootfs"]
    assert host["Init"]
    assert host["PidsLimit"] == 512
    assert not host["Privileged"]
    assert {binding["HostIp"] for bindings in (host["PortBindings"] or {}).values() for binding in bindings} <= {
        "127.0.0.1"
    }


def clients(system: Compose) -> list[int]:
    """How many each node has; a node that is starting has none."""
    found = []
    for node in ("node-1", "node-2", "node-3"):
        where = system.run(f"docker compose port {node} 8765").strip()
        try:
            with urllib.request.urlopen(f"http://{where}/metrics", timeout=10) as answer:
                text = answer.read()
        except OSError:
            text = b"node_clients 0"
        found.append(int(float(re.findall(rb"(?m)^node_clients (\S+)$", text)[0])))
    return found


def count(stats: dict[str, Any], name: str) -> int:
    return sum(entry["num_requests"] for entry in stats["stats"] if entry["name"] == name)
