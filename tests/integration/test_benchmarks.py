"""The commands that print the docs' figures run; the figures themselves are not tested."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "account.py": ["--clients", "10", "--messages", "50", "--lost", "0.1"],
    "bias.py": ["--clients", "5", "--rate", "50", "--seconds", "3", "--rounds", "1"],
    "receivers.py": ["--clients", "5", "--rate", "20", "--seconds", "1", "--rounds", "1"],
}


@pytest.mark.system
@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "benchmarks").glob("*.py")))
def test_benchmark(name: str) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *TINY[name]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "| ---" in done.stdout


def test_the_scenario_of_a_thousand_clients_is_valid() -> None:
    from fanlab.scenario.loader import load

    (loaded,) = load(ROOT / "benchmarks" / "thousand-clients.yaml")
    assert loaded.scenario.clients[0].count == 1000
