"""The Compose file: the one at the root is the quickstart's, containers may do next to nothing, and texts survive."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from fanlab import cli
from fanlab.errors import EnvironmentFailure, ScenarioError
from fanlab.exits import Exit
from fanlab.scenario.model import Scenario
from fanlab.scenario.plan import make_plan
from fanlab.topology import compose

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "docker-compose.yml"


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def scenario(**changes: Any) -> Scenario:
    """Two nodes, one channel, one publisher of 50/s."""
    data: dict[str, Any] = {
        "name": "t",
        "question": "?",
        "topology": {"nodes": {"count": 2}},
        "channels": ["news"],
        "clients": [{"group": "g", "count": 30, "channels": ["news"]}],
        "publishers": [{"name": "p", "channel": "news", "rate": "50/s"}],
        "phases": {"warm_up": "1s", "measure": "9s"},
    }
    return Scenario.model_validate(data | changes)


def text(made: Scenario) -> str:
    plan = make_plan(made)
    return compose.render(made, plan, compose.look_up(plan, ROOT), "t.yaml")


def services(made: Scenario) -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(text(made))["services"])


def plan_verb(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.cli, ["plan", *words])
    return done.exit_code, done.stdout


def test_the_one_at_the_root_is_the_quickstarts() -> None:
    """After a change: `FANLAB_RENEW_GOLDEN=1 make test ARGS=tests/unit/test_compose.py`, then read the difference."""
    code, made = plan_verb("scenarios/quickstart.yaml", "--compose")
    assert code == Exit.OK
    if os.environ.get("FANLAB_RENEW_GOLDEN") == "1":
        GOLDEN.write_text(made, encoding="utf-8")
    assert GOLDEN.read_text(encoding="utf-8") == made


def test_one_form_of_one_system_at_a_time(tmp_path: Path) -> None:
    assert plan_verb("scenarios/quickstart.yaml", "--compose", "--json")[0] == Exit.SCENARIO
    matrix = tmp_path / "m.yaml"
    source = (ROOT / "scenarios" / "quickstart.yaml").read_text(encoding="utf-8")
    matrix.write_text(source + "matrix: {topology.nodes.count: [2, 3]}\n", encoding="utf-8")
    done = CliRunner().invoke(cli.cli, ["plan", str(matrix), "--compose"])
    assert isinstance(done.exception, EnvironmentFailure)
    assert "2 systems" in str(done.exception)
    code, made = plan_verb(str(matrix), "--compose", "--set", "topology.nodes.count=2")
    assert code == Exit.OK
    assert "node-3" not in made


def test_no_container_may_do_much_and_nothing_is_published_elsewhere() -> None:
    made = services(scenario())
    assert made.keys() == {"redis", "node-1", "node-2", "locust-master", "locust-worker"}
    for service in made.values():
        assert service["user"] == "65532:65532"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["read_only"] is service["init"] is True
        assert service["pids_limit"] == 512
        assert service["tmpfs"] == ["/tmp:rw,nosuid,nodev,noexec,mode=1777,size=64m"]
        assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "restart"}
        assert all(volume["read_only"] for volume in service.get("volumes", []))
    published = [port for service in made.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1::8765"] * 2 + ["127.0.0.1:${FANLAB_WEB_PORT:-8089}:8089"]


def test_one_of_a_kind_builds_and_the_others_never_pull() -> None:
    nodes = [{"kind": "websockets"}, {"kind": "ws-node", "count": 2}, {"kind": "websockets"}]
    made = services(scenario(topology={"nodes": nodes}))
    assert made["node-1"]["build"] == {
        "context": "./nodes",
        "dockerfile": "websockets/Dockerfile",
        "args": {"BASE": "${FANLAB_DOCKER_BASE_WEBSOCKETS:-${FANLAB_DOCKER_BASE:-python:3.11-slim-bookworm}}"},
        "network": "${FANLAB_DOCKER_BUILD_NETWORK:-default}",
    }
    assert made["node-2"]["build"]["context"] == "./nodes/ws-node"
    for user, builder in (("node-3", "node-2"), ("node-4", "node-1"), ("locust-worker", "locust-master")):
        assert "build" not in made[user]
        assert made[user]["image"] == f"${{COMPOSE_PROJECT_NAME}}-{builder}"
        assert made[user]["pull_policy"] == "never"
    assert "image" not in made["node-1"]  # so it is called as the others expect it
    told = made["locust-worker"]["environment"]
    assert told["FANLAB_NODES"] == ",".join(
        f"ws://node-{k}:{port}/ws" for k, port in ((1, 8765), (2, 8080), (3, 8080), (4, 8765))
    )
    assert told == made["locust-master"]["environment"]
    assert made["locust-worker"]["depends_on"].keys() == made.keys() - {"locust-worker"}


def test_what_a_container_runs_is_what_the_manifest_says() -> None:
    made = services(scenario(topology={"nodes": {"kind": "saboteurs/crosstalk"}}))
    assert made["node-1"]["entrypoint"] == ["python", "/nodes/saboteurs/crosstalk/server.py"]
    assert "entrypoint" not in services(scenario())["node-1"]  # as the image says


@pytest.mark.parametrize("value", ["yes", "0o7", "1e3", "null", "a: b #c", 'it\'s "so"', "\\n\t", "", "${HOME}", "é"])
def test_an_authors_texts_stay_texts(value: str) -> None:
    made = services(scenario(topology={"nodes": {"env": {"MINE": value}}, "redis": {"config": {"loglevel": "notice"}}}))
    assert made["node-1"]["environment"]["MINE"].replace("$$", "$") == value
    assert value.count("$") == made["node-1"]["environment"]["MINE"].count("$$")
    assert made["redis"]["entrypoint"][-2:] == ["--loglevel", "notice"]


def test_what_another_yaml_would_take_for_a_number_is_quoted() -> None:
    assert 'MINE: "0o7"\n' in text(scenario(topology={"nodes": {"env": {"MINE": "0o7"}}}))


def test_settings_that_are_not_the_scenarios_are_refused() -> None:
    with pytest.raises(EnvironmentFailure, match="appendonly"):
        text(scenario(topology={"nodes": {}, "redis": {"config": {"appendonly": "yes"}}}))
    with pytest.raises(ScenarioError, match="FANLAB_PORT"):
        text(scenario(topology={"nodes": {"env": {"FANLAB_PORT": "1"}}}))


def test_limits_are_the_scenarios() -> None:
    made = services(
        scenario(topology={"nodes": {"cpus": 0.5, "memory": "64MB"}, "redis": {"cpus": 1, "memory": "32MB"}})
    )
    limits = {name: [made[name][key] for key in ("cpus", "mem_limit", "memswap_limit")] for name in ("node-1", "redis")}
    assert limits == {"node-1": [0.5, 64_000_000, 64_000_000], "redis": [1, 32_000_000, 32_000_000]}
    free = services(scenario())
    assert not any(service.keys() & {"cpus", "mem_limit", "memswap_limit"} for service in free.values())


def test_a_load_that_fits_is_the_scenarios() -> None:
    publishers = [{"name": "p", "channel": "news", "rate": "1.5k/s", "count": 3, "payload": "1kB"}]
    clients = [{"group": name, "count": 30, "channels": ["news"], "spawn_rate": "20/s"} for name in ("a", "b")]
    made = scenario(publishers=publishers, clients=clients)
    told = services(made)["locust-worker"]["environment"]
    assert "simplified" not in text(made)
    assert told["FANLAB_CHANNELS"] == "${FANLAB_CHANNELS:-news}"
    assert told["FANLAB_RATE"] == "${FANLAB_RATE:-1.5k/s}"
    assert told["FANLAB_PAYLOAD"] == "${FANLAB_PAYLOAD:-1kB}"
    assert told["FANLAB_PUBLISHERS"] == "${FANLAB_PUBLISHERS:-3}"
    argv = services(made)["locust-master"]["entrypoint"]
    assert argv[argv.index("--users") + 1] == "63"
    assert argv[argv.index("--spawn-rate") + 1] == "20"


@pytest.mark.parametrize(
    ("changes", "rate"),
    [
        (
            {"publishers": [{"name": "p", "channel": "news", "rate": {"kind": "burst", "size": 5, "every": "1s"}}]},
            "5/s",
        ),
        ({"publishers": [{"name": n, "channel": "news", "rate": f"{n}0/s"} for n in "13"]}, "20/s"),
        ({"publishers": [{"name": "p", "channel": "news", "rate": "50/s", "objects": 5}]}, "50/s"),
        ({"channels": ["news", "jobs"]}, "25/s"),
        ({"clients": [{"group": "g", "count": 30, "channels": ["news"], "nodes": ["node-2"]}]}, "50/s"),
        ({"clients": [{"group": "g", "count": 30, "channels": ["news"], "join": "1s"}]}, "50/s"),
        ({"readers": [{"name": "r", "channel": "news", "rate": "5/s"}]}, "50/s"),
    ],
)
def test_a_load_that_does_not_fit_is_evened_out_and_said_to_be(changes: dict[str, Any], rate: str) -> None:
    made = scenario(**changes)
    assert "# The scenario's load is simplified" in text(made)
    told = services(made)["locust-worker"]["environment"]
    assert told["FANLAB_RATE"] == f"${{FANLAB_RATE:-{rate}}}"
    channels, publishers = told["FANLAB_CHANNELS"].count(",") + 1, told["FANLAB_PUBLISHERS"][-2]
    total_per_s = float(rate.removesuffix("/s")) * int(publishers) * channels
    assert total_per_s == {"5/s": 5, "20/s": 40}.get(rate, 50)


def test_a_scenario_without_clients() -> None:
    argv = services(scenario(clients=[]))["locust-master"]["entrypoint"]
    assert argv[-4:] == ["--users", "1", "--spawn-rate", "1"]


def test_what_lies_elsewhere_is_named_in_full(tmp_path: Path) -> None:
    plan = make_plan(scenario())
    inside, outside = compose.look_up(plan, ROOT), compose.look_up(plan, tmp_path)
    assert inside.load.context == "."
    assert inside.load.dockerfile == "src/fanlab/topology/dockerfiles/helpers.Dockerfile"
    assert inside.load.arguments["LOCK"] == "requirements/runtime.lock"
    assert inside.load.arguments["PACKAGE"] == "src/fanlab"
    assert outside.load.context == str(ROOT)
    assert outside.loadtests == str(ROOT / "loadtests")
    assert outside.load.arguments == inside.load.arguments
    assert outside.kinds["websockets"].build.dockerfile == inside.kinds["websockets"].build.dockerfile


def test_installed_from_a_wheel_the_package_is_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "fanlab"
    monkeypatch.setattr(compose.fanlab, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr(compose, "folder", lambda name: package / "_bundled" / name)
    load = compose.look_up(make_plan(scenario()), tmp_path).load
    assert load.context == "./site-packages/fanlab"
    assert load.arguments["LOCK"] == "_bundled/requirements/runtime.lock"
    assert load.arguments["PACKAGE"] == "."


def test_a_kind_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "a $b"
    mine = root / "nodes" / "mine"
    mine.mkdir(parents=True)
    source = (ROOT / "nodes" / "ws-node" / "node.yaml").read_text(encoding="utf-8")
    source = source.replace("kind: ws-node", "kind: mine").replace("[node, server.js]", "[/server]")
    (mine / "node.yaml").write_text(source.replace("container: {port: 8080}\n", ""), encoding="utf-8")
    monkeypatch.chdir(root)
    plan = make_plan(made := scenario(topology={"nodes": {"kind": "mine"}}))
    with pytest.raises(ScenarioError, match="neither a Dockerfile nor a `container` part"):
        compose.look_up(plan, tmp_path)
    (mine / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n", encoding="utf-8")
    node = yaml.safe_load(compose.render(made, plan, compose.look_up(plan, tmp_path), "t.yaml"))["services"]["node-1"]
    assert node["build"]["context"] == "./a $$b/nodes/mine"
    assert node["build"]["args"] == {"BASE": "${FANLAB_DOCKER_BASE_MINE:-${FANLAB_DOCKER_BASE:-}}"}
    assert node["healthcheck"]["test"] == ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8765/readyz"]
    (mine / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    assert compose.look_up(plan, root).kinds["mine"].build.arguments == {}


class _Answers(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Answers) as started:
        thread = threading.Thread(target=started.serve_forever)
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def test_the_health_check_succeeds_when_the_node_is_ready_and_only_then(
    server: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    word, python, *options = services(scenario())["node-1"]["healthcheck"]["test"]
    assert (word, python) == ("CMD", "python3")
    argv = [sys.executable, *(option.replace("8765", str(server.server_port)) for option in options)]

    def healthy() -> bool:
        return subprocess.run(argv, check=False, timeout=30, capture_output=True).returncode == 0

    assert healthy()
    monkeypatch.setattr(_Answers, "status", 503)
    assert not healthy()
    server.socket.close()
    assert not healthy()
