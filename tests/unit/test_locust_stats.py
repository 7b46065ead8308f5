"""Locust's statistics, checked in a process of their own: importing Locust here would patch pytest by gevent."""

import subprocess
import sys
from pathlib import Path

CHECKS = Path(__file__).parents[1] / "support" / "locust_stats_checks.py"


def test_batches_and_failures_reach_locusts_statistics() -> None:
    done = subprocess.run([sys.executable, str(CHECKS)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_here_has_imported_locust() -> None:
    assert "locust" not in sys.modules
    assert "gevent" not in sys.modules
