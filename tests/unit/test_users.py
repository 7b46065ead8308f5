"""Locust's users, checked in a process of their own: importing Locust here would patch pytest by gevent."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_users_need_no_greenlet_and_are_counted() -> None:
    command = [sys.executable, "-m", "support.users_checks"]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
