"""loadtests/fanout.py under plain Locust, against a running system."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import free_port
from fanlab.resources import folder
from support.load_system import Processes

pytestmark = pytest.mark.system


def locust(argv: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=90, check=False)


async def test_plain_locust_counts_deliveries(tmp_path: Path, redis_server: str) -> None:
    processes = Processes()
    (tmp_path / "temporary").mkdir()
    try:
        nodes = [await processes.start_node(k, free_port(), redis_server, tmp_path) for k in range(2)]
        environment = {
            **os.environ,
            "FANLAB_NODES": ",".join(node.ws_url for node in nodes),
            "FANLAB_REDIS_URL": redis_server,
            "FANLAB_CHANNELS": "news,jobs",
            "FANLAB_RATE": "20/s",
            "TMPDIR": str(tmp_path / "temporary"),
        }
        argv = [sys.executable, "-m", "locust", "-f", str(folder("loadtests") / "fanout.py"), "--headless"]
        argv += ["-u", "12", "-r", "12", "-t", "4s"]
        done = await asyncio.to_thread(locust, argv, environment)
    finally:
        await processes.close()
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "temporary").iterdir()) == []
    summary = done.stderr + done.stdout
    # The last table: ten clients hear two channels of 20/s for about three seconds (publishing begins after one).
    for name in ("deliver news", "deliver jobs"):
        requests, failures = re.findall(rf"WS +{name} +(\d+) +(\d+)\(", summary)[-1]
        assert 200 <= int(requests) <= 1000
        assert int(requests) % 10 == 0
        assert failures == "0"
    assert "Traceback" not in summary


def test_without_a_system_it_says_what_to_do(tmp_path: Path) -> None:
    environment = {**os.environ, "FANLAB_STATE_DIR": str(tmp_path), "FANLAB_NODES": "", "FANLAB_REDIS_URL": ""}
    argv = [sys.executable, "-m", "locust", "-f", str(folder("loadtests") / "fanout.py"), "--headless", "-t", "1s"]
    done = locust(argv, environment)
    assert done.returncode != 0
    assert "fanlab up" in done.stderr


def test_a_system_that_cannot_be_reached_is_a_failure_that_locust_reports() -> None:
    environment = {
        **os.environ,
        "FANLAB_NODES": f"ws://127.0.0.1:{free_port()}/ws",
        "FANLAB_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "FANLAB_CHANNELS": "news",
    }
    argv = [sys.executable, "-m", "locust", "-f", str(folder("loadtests") / "fanout.py"), "--headless"]
    done = locust([*argv, "-u", "3", "-r", "3", "-t", "4s"], environment)
    summary = done.stderr + done.stdout
    assert done.returncode == 1, summary
    assert "Error report" in summary
    assert "not published" in summary
    assert "Connect call failed" in summary or "refused" in summary
