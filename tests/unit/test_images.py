"""Images: what makes two the same, and what a failed build says. The engine is a fake here."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError

from fanlab import resources
from fanlab.errors import NodeFailure, ScenarioError
from fanlab.topology import images
from fanlab.topology.manifest import ContainerBuild, node_folder, read_manifest

NOTHING_SET: dict[str, str] = {}


def tree(root: Path) -> Path:
    """A node kind of three files."""
    kind = root / "nodes" / "tiny"
    (kind / "sub").mkdir(parents=True)
    (kind / "Dockerfile").write_text("FROM scratch\n")
    (kind / "server.py").write_text("print()\n")
    (kind / "sub" / "data").write_bytes(b"\0\1")
    return kind


def names(recipe: images.Recipe) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(recipe.context)) as tar:
        return tar.getnames()


def test_the_same_files_are_the_same_image_wherever_and_whenever_they_are(tmp_path: Path) -> None:
    first, second = tree(tmp_path / "a"), tree(tmp_path / "b")
    os.utime(second / "server.py", (1, 1))
    (second / "__pycache__").mkdir()
    (second / "__pycache__" / "server.pyc").write_bytes(b"x")
    tags = {images.node_recipe(kind, ContainerBuild(), NOTHING_SET).tag for kind in (first, second)}
    assert len(tags) == 1
    assert tags.pop().startswith("fanlab-node:")


@pytest.mark.parametrize("changed", ["content", "name", "mode", "dockerfile", "base", "link"])
def test_whatever_goes_into_it_makes_another_image(tmp_path: Path, changed: str) -> None:
    kind = tree(tmp_path)
    before = images.node_recipe(kind, ContainerBuild(), NOTHING_SET)
    environ = {}
    match changed:
        case "content":
            (kind / "server.py").write_text("print(1)\n")
        case "name":
            (kind / "server.py").rename(kind / "main.py")
        case "mode":
            (kind / "server.py").chmod(0o755)
        case "dockerfile":
            (kind / "Dockerfile").write_text("FROM other\n")
        case "base":
            environ = {images.BASE_VARIABLE: "mine:1"}
        case _:
            (kind / "alias").symlink_to("server.py")
    assert images.node_recipe(kind, ContainerBuild(), environ).tag != before.tag


def test_the_context_leaves_out_what_dockerignore_names(tmp_path: Path) -> None:
    kind = tree(tmp_path)
    (kind / ".dockerignore").write_text("# a comment\nsub\n*.log\n")
    (kind / "a.log").touch()
    found = names(images.node_recipe(kind, ContainerBuild(), NOTHING_SET))
    assert found == [".dockerignore", images.DOCKERFILE, "Dockerfile", "server.py"]


def test_a_context_or_dockerfile_that_cannot_be_used_is_the_manifests_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = tree(tmp_path)
    for build, said in (
        (ContainerBuild(dockerfile="no"), "container.dockerfile: there is no file"),
        (ContainerBuild(context="no"), "container.context: there is no folder"),
    ):
        with pytest.raises(ScenarioError, match=said):
            images.node_recipe(kind, build, NOTHING_SET)
    monkeypatch.setattr(images, "MAX_CONTEXT_BYTES", 10)
    with pytest.raises(ScenarioError, match=r"holds 23 B, more than 10 B: add a \.dockerignore"):
        images.node_recipe(kind, ContainerBuild(), NOTHING_SET)


def test_bases_are_named_by_the_environment_redis_own_first() -> None:
    assert images.redis_recipe(NOTHING_SET).arguments == {}
    both = {images.BASE_VARIABLE: "one:1", images.REDIS_BASE_VARIABLE: "two:2"}
    assert images.redis_recipe(both).arguments == {"BASE": "two:2"}
    assert images.helpers_recipe(both).arguments == {"BASE": "one:1"}


def test_the_helpers_image_is_this_package_and_its_lock() -> None:
    found = set(names(images.helpers_recipe(NOTHING_SET)))
    assert {"runtime.lock", "fanlab/load/worker.py", "fanlab/load/witness.py", "fanlab/__init__.py"} <= found
    assert not any("_bundled" in name or "__pycache__" in name for name in found)


def test_every_bundled_kind_can_be_a_container() -> None:
    for kind in resources.node_folders():
        folder = node_folder(kind)
        build = read_manifest(folder).container_build(folder)
        assert (folder / build.dockerfile).resolve().is_file(), kind
        if kind == "ws-node":  # another team's, on its own
            continue
        context = (folder / build.context).resolve()
        assert {"websockets", "saboteurs"} <= {path.name for path in context.iterdir()}, kind
        if kind != "websockets":
            assert build.argv == ("python", f"/nodes/{kind}/server.py")


@pytest.mark.parametrize("kind", ["websockets", "picows"])
def test_the_nodes_lock_has_the_versions_and_hashes_of_fanlabs_own(kind: str) -> None:
    def pinned(path: Path) -> dict[str, str]:
        blocks = path.read_text().replace(" \\\n    ", " ").splitlines()
        return {line.split("==")[0]: line for line in blocks if "==" in line}

    ours = pinned(resources.folder("requirements") / "runtime.lock")
    nodes = pinned(resources.folder("nodes") / kind / "requirements.lock")
    assert {"redis", "websockets", "uvloop", kind} <= nodes.keys()
    for name, line in nodes.items():
        assert line == ours[name]


class FakeEngine:
    """As much of the SDK as a build needs."""

    def __init__(self, *parts: dict[str, str] | Exception, known: bool = False) -> None:
        self.parts = parts
        self.known = known
        self.asked: dict[str, Any] = {}

    def images(self, name: str) -> list[str]:
        return [name] if self.known else []

    def build(self, **asked: Any) -> Iterator[dict[str, str]]:
        self.asked = asked
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield part


RECIPE = images.Recipe("fanlab-node", b"tar", {"BASE": "b:1"}, "FANLAB_DOCKER_BASE_WS_NODE")


def test_an_image_that_is_there_is_not_built_again(tmp_path: Path) -> None:
    engine = FakeEngine(known=True)
    assert images.build(engine, RECIPE, tmp_path / "log", NOTHING_SET) == RECIPE.tag
    assert engine.asked == {}
    assert not (tmp_path / "log").exists()


def test_a_build_says_all_in_its_log_and_goes_by_the_environment(tmp_path: Path) -> None:
    engine = FakeEngine({"stream": "Step 1\n"}, {"aux": "x"}, {"stream": "done\n"})
    environ = {images.NETWORK_VARIABLE: "host"}
    assert images.build(engine, RECIPE, tmp_path / "log", environ) == RECIPE.tag
    assert (tmp_path / "log").read_text().splitlines()[1:] == ["Step 1", "done"]
    assert engine.asked["network_mode"] == "host"
    assert engine.asked["buildargs"] == {"BASE": "b:1"}
    assert engine.asked["tag"] == RECIPE.tag
    assert engine.asked["labels"] == {"fanlab.image": "fanlab-node"}


@pytest.mark.parametrize("end", [{"error": "no such base"}, APIError("no such base")])
def test_a_build_that_fails_quotes_its_last_lines(tmp_path: Path, end: Any) -> None:
    lines = [{"stream": f"line {number}\n"} for number in range(50)]
    with pytest.raises(NodeFailure, match="the image fanlab-node cannot be built") as caught:
        images.build(FakeEngine(*lines, end), RECIPE, tmp_path / "log", NOTHING_SET)
    assert caught.value.log_tail[-2:] == ("line 49", "no such base")
    assert len(caught.value.log_tail) == 20
    assert str(tmp_path / "log") in caught.value.message
    assert "FANLAB_DOCKER_BASE_WS_NODE, or for all images FANLAB_DOCKER_BASE names" in (caught.value.hint or "")
    assert "line 0\n" in (tmp_path / "log").read_text()
