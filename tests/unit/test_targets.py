"""What --node and --targets may say, and what is told of what they must not."""

from pathlib import Path
from typing import Any

import pytest

from fanlab.errors import ScenarioError
from fanlab.scenario.plan import NodeSpec
from fanlab.topology.targets import TargetNode, Targets, matched, read_targets, refuse_user, told

PLAN = [NodeSpec(k, f"node-{k + 1}", "websockets", {}, journal=True) for k in range(3)]
WHOLE = """
nodes:
  - id: node-1
    ws: ws://10.0.0.5:8765/ws
    http: http://10.0.0.5:8765
    protocol: plain
    ready: /healthz
    cache: /cache/{key}
    journal: /var/log/node-1.jsonl
  - {id: node-2, ws: "wss://shop.example/ws?token=x"}
redis: redis://10.0.0.6:6379/0
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "targets.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(what: Any) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        what()
    return [str(problem) for problem in caught.value.problems]


def test_a_whole_file(tmp_path: Path) -> None:
    targets = read_targets(written(tmp_path, WHOLE))
    assert targets == Targets(
        nodes=[
            TargetNode(
                id="node-1",
                ws="ws://10.0.0.5:8765/ws",
                http="http://10.0.0.5:8765",
                protocol="plain",
                ready="/healthz",
                cache="/cache/{key}",
                journal="/var/log/node-1.jsonl",
            ),
            TargetNode(id="node-2", ws="wss://shop.example/ws?token=x"),
        ],
        redis="redis://10.0.0.6:6379/0",
    )
    assert targets.of(PLAN[1]).ws == "wss://shop.example/ws?token=x"


def test_options_and_a_file_add_up(tmp_path: Path) -> None:
    file = written(tmp_path, "nodes: [{id: node-1, ws: 'ws://a:1/ws'}]")
    targets = told(["node-2=ws://b:1/ws?x=y=z"], file, "redis://c")
    assert [(node.id, node.ws) for node in targets.nodes] == [
        ("node-1", "ws://a:1/ws"),
        ("node-2", "ws://b:1/ws?x=y=z"),
    ]
    assert targets.redis == "redis://c"
    assert told([], None, None) == Targets()


def test_what_is_given_twice(tmp_path: Path) -> None:
    file = written(tmp_path, "nodes: [{id: node-1, ws: 'ws://a:1/ws'}]\nredis: redis://d")
    assert problems(lambda: told(["node-1=ws://b/"], file, None)) == ["--node: node-1 is given more than once"]
    assert problems(lambda: told([], file, "redis://c")) == [
        f"--redis-url: {file} names a Redis, too: leave one of them out"
    ]


@pytest.mark.parametrize(
    "word", ["node-1", "ws://a:1/ws", "", "node-1=a:1", "n o=ws://a", "node-1=", "=ws://a/", "n=ws://a/#x"]
)
def test_what_is_no_node(word: str) -> None:
    assert "write it as node-1=ws://host:port/ws" in problems(lambda: told([word], None, None))[0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("nodes: [{id: node-1}]", "ws"),
        ("nodes: [{id: node-1, ws: 'ws://a', wss: 1}]", "unknown key"),
        ("nodes: [{id: node-1, ws: 'a:1'}]", "no URL; write it as ws://host:port/path"),
        ("nodes: [{id: node-1, ws: 'ws://a', ready: /x}]", "`ready` is a path under `http`, which is not given"),
        ("nodes: [{id: node-1, ws: 'ws://a', http: 'http://a', ready: x}]", "no path; it begins with /"),
        ("nodes: [{id: node-1, ws: 'ws://a', http: 'http://a', cache: /x}]", "{key} must be in it"),
        ("redis: 5", "must be a text"),
        ("- nodes", "a mapping"),
        ("nodes: [{id: 'a b', ws: 'ws://a'}]", "is no name"),
    ],
)
def test_what_a_file_must_not_say_is_told_with_its_place(tmp_path: Path, text: str, what: str) -> None:
    file = written(tmp_path, text)
    found = problems(lambda: read_targets(file))
    assert any(what in problem for problem in found), found
    assert all(problem.startswith(f"{file}:1:") for problem in found)


def test_files_that_are_none(tmp_path: Path) -> None:
    assert "cannot be read" in problems(lambda: read_targets(tmp_path / "none.yaml"))[0]
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in problems(lambda: read_targets(binary))[0]
    assert "larger than" in problems(lambda: read_targets(written(tmp_path, "#" * 256_001)))[0]


def test_a_url_of_redis_that_is_none_is_told_without_its_password() -> None:
    [said] = problems(lambda: told(["node-1=ws://h/"], None, "redis://u:<sec ret>@h:1/0"))
    assert said.startswith("--redis-url: no URL; write it as redis://host:port/0")
    assert "sec" not in said


def targets(*names: str, redis: str | None = "redis://h") -> Targets:
    return Targets(nodes=[TargetNode(id=name, ws="ws://h/") for name in names], redis=redis)


def test_one_target_for_each_node_is_a_match() -> None:
    matched(targets("node-3", "node-1", "node-2"), PLAN)


def test_too_few_nodes_are_told_with_both_ways_out() -> None:
    [said] = problems(lambda: matched(targets("node-1"), PLAN))
    assert said == (
        "--node: the scenario has 3 nodes, and 1 are given: name the rest with --node node-2=ws://host:port/ws --node"
        " node-3=ws://host:port/ws, or run with fewer: --set topology.nodes.count=1"
    )


def test_nodes_that_the_plan_does_not_have() -> None:
    [said] = problems(lambda: matched(targets("node-1", "node-2", "node-3", "web"), PLAN))
    assert said == (
        "--node: web: the scenario has node-1 to node-3; call the nodes so, or run with more:"
        " --set topology.nodes.count=4"
    )


def test_the_redis_must_be_named() -> None:
    [said] = problems(lambda: matched(targets("node-1", "node-2", "node-3", redis=None), PLAN))
    assert said.startswith("--redis-url: the nodes' Redis must be named, too")


def test_a_users_name_in_a_websockets_url_is_refused_and_not_quoted() -> None:
    [said] = problems(lambda: refuse_user("ws://me:secret@h/ws", "--node node-1"))
    assert said.startswith("--node node-1: ")
    assert "secret" not in said
    refuse_user("ws://h/ws?me@home", "--node node-1")
