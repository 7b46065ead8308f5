"""Without an engine that can be used: exit code 4 and what to do, and nothing is begun. Needs no engine itself."""

import hashlib
import json
from pathlib import Path

import pytest

from fanlab.exits import Exit
from support.docker_runs import fanlab

pytestmark = [pytest.mark.docker, pytest.mark.system]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DOCKER_HOST": "unix:///nowhere/docker.sock"}, "no Docker engine answers at unix:///nowhere/docker.sock"),
        ({"DOCKER_HOST": "tcp://127.0.0.1:1"}, "Connection refused"),
        ({"DOCKER_HOST": "ssh://somebody@192.0.2.1"}, "is on another machine"),
        ({"DOCKER_HOST": "", "DOCKER_CONTEXT": "none-of-that-name"}, "there is no docker context 'none-of-that-name'"),
    ],
    ids=["socket", "port", "remote", "context"],
)
def test_without_an_engine_a_run_says_what_helps(tmp_path: Path, environ: dict[str, str], said: str) -> None:
    done = fanlab("quickstart", out=tmp_path / "run", **environ)
    assert done.returncode == Exit.ENVIRONMENT
    assert said in done.stderr
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "run" / "journal").iterdir())


def test_a_context_of_the_docker_cli_names_the_engine(tmp_path: Path) -> None:
    config = {"currentContext": "mine"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"mine").hexdigest()
    meta.mkdir(parents=True)
    endpoint = {"docker": {"Host": "unix:///nowhere/mine.sock", "SkipTLSVerify": False}}
    (meta / "meta.json").write_text(json.dumps({"Name": "mine", "Metadata": {}, "Endpoints": endpoint}))
    done = fanlab("quickstart", out=tmp_path / "run", DOCKER_HOST="", DOCKER_CONFIG=str(tmp_path))
    assert done.returncode == Exit.ENVIRONMENT
    assert "no Docker engine answers at unix:///nowhere/mine.sock" in done.stderr


def test_a_redis_of_ones_own_is_refused(tmp_path: Path) -> None:
    done = fanlab("quickstart", "--redis-url", "redis://127.0.0.1:6379/0", out=tmp_path / "run")
    assert done.returncode == Exit.ENVIRONMENT
    assert "containers cannot reach it" in done.stderr
