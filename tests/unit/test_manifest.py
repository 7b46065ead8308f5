"""node.yaml: what is accepted, and what a wrong one is told."""

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from fanlab import resources
from fanlab.errors import ScenarioError
from fanlab.scenario.plan import NodeSpec
from fanlab.topology.manifest import ContainerBuild, node_folder, read_manifest

GOOD = """\
kind: tiny
description: a node
process: {argv: ["{python}", "-c", "{}"]}
environment: {host: HOST, port: PORT, redis_url: REDIS_URL, id: NODE_ID, journal: JOURNAL}
websocket: /ws
ready: {path: /readyz, timeout: 2s}
live: /livez
protocol: json
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "tiny"
    found.mkdir()
    return found


def problems(folder: Path, text: str) -> str:
    (folder / "node.yaml").write_text(text)
    with pytest.raises(ScenarioError) as caught:
        read_manifest(folder)
    return str(caught.value)


def test_a_good_one(folder):
    (folder / "node.yaml").write_text(GOOD)
    manifest = read_manifest(folder)
    assert manifest.argv() == [sys.executable, "-c", "{}"]
    assert manifest.ready.timeout_ns == 2_000_000_000
    assert manifest.environment.journal == "JOURNAL"
    with pytest.raises(ValidationError, match="frozen"):
        manifest.kind = "other"  # type: ignore[misc]


def test_what_installs_it_is_a_command_line_too(folder):
    (folder / "node.yaml").write_text(GOOD)
    assert read_manifest(folder).install_argv() is None
    (folder / "node.yaml").write_text(GOOD + 'install: {argv: ["{python}", "-m", "pip"]}\n')
    assert read_manifest(folder).install_argv() == [sys.executable, "-m", "pip"]
    assert "install.argv: Tuple should have at least 1 item" in problems(folder, GOOD + "install: {argv: []}\n")


def test_without_a_journal_it_is_a_black_box(folder):
    (folder / "node.yaml").write_text(GOOD.replace(", journal: JOURNAL", "").replace("live: /livez\n", ""))
    manifest = read_manifest(folder)
    assert manifest.environment.journal is None
    assert manifest.live is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("kind: tiny", "kind: huge", "1:1: kind: it must be its folder's name, 'tiny'"),
        ("timeout: 2s", "timeout: 2", "6:24: ready.timeout: 2 is no duration"),
        ("argv: [", "arg: [", "3:11: process.arg: unknown key"),
        ('["{python}", "-c", "{}"]', "[]", "process.argv: Tuple should have at least 1 item"),
        ("port: PORT", "port: P-ORT", "4:27: environment.port: String should match"),
        ("port: PORT", "port: HOST", "4:1: environment: two of these name the same variable"),
        ("port: PORT", "port: 8080", "environment.port: Input should be a valid string"),
        ("websocket: /ws", "websocket: ws", "websocket: String should match"),
        ("protocol: json", "", "protocol: missing; it must be given"),
        ("protocol: json", "protocol: json\nkind: tiny", "9:1: the key 'kind' stands here a second time"),
        ("kind: tiny", "kind: [tiny", "node.yaml:2:"),
        ("kind: tiny", "kind: !!python/name:os.system x", "means nothing here"),
        ("description: a node", f"description: {'x' * 70_000}", "it is larger than 64000 bytes"),
    ],
)
def test_a_wrong_one_names_file_and_field(folder, old, new, said):
    assert old in GOOD
    text = problems(folder, GOOD.replace(old, new, 1))
    assert "tiny/node.yaml" in text
    assert said in text


@pytest.mark.parametrize("text", ["", "- a list", "just words", "[" * 5000])
def test_no_mapping_at_all(folder, text):
    assert "node.yaml" in problems(folder, text)


def test_every_problem_at_once(folder):
    text = problems(folder, GOOD.replace("websocket: /ws", "websocket: ws").replace("protocol: json", "protocol: ''"))
    assert len(text.splitlines()) == 2


def test_not_utf_8(folder):
    (folder / "node.yaml").write_bytes(b"kind: \xff\xfe")
    with pytest.raises(ScenarioError, match="not UTF-8"):
        read_manifest(folder)


def test_absent(folder):
    with pytest.raises(ScenarioError, match="it cannot be read: No such file"):
        read_manifest(folder)


def test_an_unknown_kind_lists_those_on_offer(folder, monkeypatch):
    (folder / "node.yaml").write_text(GOOD)
    monkeypatch.setattr("fanlab.topology.manifest.node_folders", lambda: {"tiny": folder})
    assert node_folder("tiny") == folder
    with pytest.raises(ScenarioError, match=r"nodes/tyni/node\.yaml: no such node kind; on offer: tiny"):
        node_folder("tyni")


@pytest.mark.parametrize("kind", sorted(resources.node_folders()))
def test_the_bundled_ones_are_good(kind):
    manifest = read_manifest(node_folder(kind))
    assert manifest.kind == kind
    assert manifest.description


def test_a_folder_of_kinds_names_them_by_their_path(tmp_path, monkeypatch):
    folder = tmp_path / "nodes" / "odd" / "tiny"
    folder.mkdir(parents=True)
    (folder / "node.yaml").write_text(GOOD.replace("kind: tiny", "kind: odd/tiny"))
    monkeypatch.chdir(tmp_path)
    assert resources.node_folders()["odd/tiny"] == folder
    assert read_manifest(folder).kind == "odd/tiny"
    assert "it must be its folder's name, 'odd/tiny'" in problems(folder, GOOD)
    assert "kind: String should match" in problems(folder, GOOD.replace("kind: tiny", "kind: nodes/odd/tiny"))


def test_kinds_on_offer_are_told_in_a_line():
    assert resources.on_offer(["b", "many/x", "a", "many/y"]) == "a, b, many/… (2 kinds)"
    assert resources.on_offer([]) == ""


def test_how_containers_are_made_of_it(folder):
    (folder / "node.yaml").write_text(GOOD)
    manifest = read_manifest(folder)
    with pytest.raises(ScenarioError, match="neither a Dockerfile nor a `container` part"):
        manifest.container_build(folder)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    assert manifest.container_build(folder) == ContainerBuild(
        dockerfile="Dockerfile", context=".", argv=None, port=8765
    )
    (folder / "node.yaml").write_text(GOOD + "container: {context: .., argv: [node, server.js], port: 3000}\n")
    build = read_manifest(folder).container_build(folder)
    assert (build.context, build.argv, build.port) == ("..", ("node", "server.js"), 3000)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("{port: 80}", "container.port: Input should be greater than or equal to 1024"),
        ("{argv: []}", "container.argv: "),
        ("{image: x}", "container.image: unknown key"),
    ],
)
def test_a_container_part_that_cannot_be_used(folder, part, said):
    assert said in problems(folder, GOOD + f"container: {part}\n")


def test_what_a_node_is_told(folder):
    (folder / "node.yaml").write_text(GOOD)
    manifest = read_manifest(folder)
    where = {"host": "0.0.0.0", "port": 8765, "redis_url": "redis://r", "journal": "/journal/n.jsonl"}
    told = manifest.told(NodeSpec(0, "n", "tiny", {"MINE": "1"}), **where)
    assert told == {
        "MINE": "1",
        "HOST": "0.0.0.0",
        "PORT": "8765",
        "REDIS_URL": "redis://r",
        "NODE_ID": "n",
        "JOURNAL": "/journal/n.jsonl",
    }
    assert "JOURNAL" not in manifest.told(NodeSpec(0, "n", "tiny", {}, journal=False), **where)
    with pytest.raises(ScenarioError, match=r"topology\.nodes\.env\.PORT: fanlab sets this variable"):
        manifest.told(NodeSpec(0, "n", "tiny", {"PORT": "1"}), **where)
