"""With a part of the system throttled, a capacity search names that part."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

THROTTLED = """
name: throttled
question: What saturates first?
topology:
  nodes: {{kind: websockets, count: 1, journal: false, cpus: {node}}}
  redis: {{cpus: {redis}}}
channels: [news]
clients: [{{group: readers, count: {clients}, spawn_rate: 100/s, channels: [news]}}]
publishers: [{{name: ticker, channel: news, rate: {rate}/s}}]
phases: {{warm_up: 500ms, measure: 4s, drain: {{quiet: 500ms, deadline: 30s}}}}
evidence: {{witness: false, redis_watch: false, probes: 0}}
limits: {{schedule_lag_p99: 10s, loop_lag_p99: 10s, bias_p99: 10s, cpu: 1.0, steal: 1.0}}
"""


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("node", {"node": 0.2, "redis": 1.0, "clients": 200, "rate": 20}),  # much fan-out, few messages
        ("redis", {"node": 1.0, "redis": 0.02, "clients": 1, "rate": 4000}),  # the other way round
    ],
)
def test_the_part_that_is_throttled_is_named(engine: Any, tmp_path: Path, kind: str, shape: dict[str, float]) -> None:
    del engine
    path = tmp_path / "throttled.yaml"
    path.write_text(THROTTLED.format(**shape), encoding="utf-8")
    argv = [sys.executable, "-m", "fanlab", "capacity", str(path), "--slo", "latency.p50 < 1s and ledger.lost == 0"]
    argv += ["--axis", "rate", "--backend", "docker", "--out", str(tmp_path / "search"), "--json", "--no-progress"]
    argv += ["--repeats", "1", "--precision", "1", "--max-runs", "12"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=850, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["saturation"]["named"] is not None, found["saturation"]["sentence"]
    assert found["saturation"]["named"]["kind"] == kind, found["saturation"]["sentence"]
