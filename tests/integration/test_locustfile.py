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

FANOUT = [sys.executable, "-m", "locust", "-f", str(folder("loadtests") / "fanout.py"), "--headless"]


def locust(options: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    argv = [*FANOUT, *options]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=90, check=False)


def locust_until(said: list[str], options: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """For so long as this machine needs to say all that, within reason: engines take a while to start."""
    for seconds in (4, 12, 36):
        done = locust([*options, "-t", f"{seconds}s"], environment)
        if all(re.search(each, done.stderr + done.stdout) for each in said):
            break
    return done


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
        said = [f"{name} " for name in ("PUBLISH +jobs", "PUBLISH +news", "WS +deliver jobs", "WS +deliver news")]
        done = await asyncio.to_thread(locust_until, said, ["-u", "12", "-r", "12"], environment)
    finally:
        await processes.close()
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "temporary").iterdir()) == []
    summary = done.stderr + done.stdout
    table = summary[summary.rindex("Type ", 0, summary.rindex("Response time percentiles")) :]
    for channel in ("news", "jobs"):
        requests, failures = re.findall(rf"WS +deliver {channel} +(\d+) +(\d+)\(", table)[0]
        published, failed = re.findall(rf"PUBLISH +{channel} +(\d+) +(\d+)\(", table)[0]
        assert 0 < int(requests) <= 10 * int(published)  # to ten clients, once all of them are there
        assert failures == failed == "0"
    assert "Traceback" not in summary


def test_without_a_system_it_says_what_to_do(tmp_path: Path) -> None:
    environment = {**os.environ, "FANLAB_STATE_DIR": str(tmp_path), "FANLAB_NODES": "", "FANLAB_REDIS_URL": ""}
    done = locust(["-t", "1s"], environment)
    assert done.returncode != 0
    assert "fanlab up" in done.stderr


def test_a_system_that_cannot_be_reached_is_a_failure_that_locust_reports() -> None:
    environment = {
        **os.environ,
        "FANLAB_NODES": f"ws://127.0.0.1:{free_port()}/ws",
        "FANLAB_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        "FANLAB_CHANNELS": "news",
    }
    done = locust_until(["not published", "refused|Connect call failed"], ["-u", "3", "-r", "3"], environment)
    summary = done.stderr + done.stdout
    assert done.returncode == 1, summary
    assert "Error report" in summary
    assert "not published" in summary
    assert "Connect call failed" in summary or "refused" in summary
