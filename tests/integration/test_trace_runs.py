"""Real runs with `--trace`: the two checkers agree on them, and the trace has what the summary counts."""

import csv
import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from support.answers import PATIENT

pytestmark = pytest.mark.system


def fanlab(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "fanlab", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


@pytest.mark.parametrize("scenario", ["quickstart", "node-crash"])
def test_the_checkers_agree_on_a_traced_run(scenario: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = fanlab("run", scenario, "--trace", "--json", "--no-progress", "--out", str(out), *PATIENT)
    summary = json.loads(done.stdout)
    assert summary["evidence"]["crosscheck"] == "agrees", done.stderr
    assert not any("second checker" in reason for reason in summary["reasons"])
    with gzip.open(out / "deliveries.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    ledger = summary["ledger"]
    measured = Counter(row["outcome"] for row in rows if not row["intended_s"].startswith("-"))
    assert ledger["lost"] > 0
    for outcome, term in (("delivered", "delivered"), ("lost", "lost"), ("copy", "duplicated")):
        assert measured[outcome] == ledger[term]
    by_cause = Counter(row["cause"] for row in rows if row["cause"] and not row["intended_s"].startswith("-"))
    assert by_cause == {cause: count for cause, count in summary["loss"]["by_cause"].items() if count}

    again = fanlab("crosscheck", str(out))
    assert again.returncode == 0
    assert "agree on every count" in again.stdout
    document = json.loads(fanlab("crosscheck", str(out), "--json").stdout)
    assert document["agrees"] is True
    assert document["differences"] == []


def test_crosscheck_of_no_run_exits_with_3(tmp_path: Path) -> None:
    done = fanlab("crosscheck", str(tmp_path))
    assert done.returncode == 3
    assert "manifest.json" in done.stderr
    assert "Traceback" not in done.stderr
