"""`fanlab up --backend docker`: a system in containers that stays, is reached on 127.0.0.1, and goes with `down`."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fanlab.topology.labels import OWNER, RUN, UNIT, Owner
from fanlab.topology.ready import HttpProbe
from support.docker_runs import Labelled

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]


def test_up_publish_down(engine: Any, labelled: Labelled, tmp_path: Path) -> None:
    del engine

    def fanlab(*words: str) -> str:
        environ = {**os.environ, "FANLAB_STATE_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "fanlab", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False, env=environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        lines = fanlab("up", "quickstart", "--backend", "docker").splitlines()
        warden = json.loads((tmp_path / "up.json").read_text())["warden_pid"]
        owned = [each for each in labelled.containers() if Owner.parse(each["Labels"][OWNER]).pid == warden]
        (run_id,) = {each["Labels"][RUN] for each in owned}
        units = {each["Labels"][UNIT] for each in labelled.containers(run_id)}
        assert units == {"redis", "node-1", "node-2", "node-3"}
        addresses = {line.split()[0]: line.split()[1:] for line in lines[:4]}
        assert addresses["redis"][0].startswith("redis://127.0.0.1:")
        for node in ("node-1", "node-2", "node-3"):
            websocket, http = addresses[node]
            assert websocket == f"{http.replace('http', 'ws')}/ws"
            host, _, port = http.removeprefix("http://").partition(":")
            assert host == "127.0.0.1"
            assert asyncio.run(HttpProbe(host, int(port), "/readyz").look()).ready
        assert fanlab("numsub", "user:updated") == "user:updated 3\n"
        assert fanlab("publish", "user:updated", "hello") == "3\n"
    finally:
        fanlab("down")
    assert labelled.everything(run_id) == []
