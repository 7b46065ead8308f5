"""From journals on disk to the report: the account, the analysis and the report together, on a run written by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from fanlab.errors import MeasurementError
from fanlab.report.write import read_samples, write_report
from fanlab.rundir import RunDir, write_json
from support.accounts import make_manifest, make_scenario
from support.histories import History

SAMPLES = "t_s,metric,unit,value\n0.000,cpu,node-1,0.2\n0.500,cpu,node-1,0.3\n0.500,numsub,news,2\n"


def node_crash(**changes: Any) -> History:
    """100/s for 1 s to a client each on node-1 and node-2; node-2 dies at 200 ms, its client is back at 452 ms."""
    history = History(clients=2, nodes=2, warm_up_ms=0, measure_ms=1000, **changes)
    history.subscribe(0, node=0).subscribe(1, node=1)
    history.fault("crash", "node-2", 200, until=600, predicted=20)
    history.close(1, at=201.5, node=1).subscribe(1, node=0, at=450)
    history.health(-100, 1.0, 2.0).health(900, 1.25, 3.0)
    for seq in range(1, 101):
        at = 10 * (seq - 1)
        history.publish(seq, at=at)
        history.fan_out(0, seq, at + 0.5)
        history.deliver(0, seq, at + 2)
        if not 200 <= at < 460:
            history.deliver(1, seq, at + 3, node=0 if at > 400 else 1)
    return history


def write(history: History, path: Path) -> RunDir:
    """The run directory, its manifest completed by what a scenario says."""
    rundir = history.write(path)
    scenario = make_scenario(
        clients=[{"group": "readers", "count": 2, "channels": ["news"]}],
        phases={"warm_up": 0, "measure": "1s"},
        gates=["loss.unexplained == 0", "recovery_ms.max < 300ms"],
    )
    ours = history.manifest()
    kept = ("status", "run_tag", "plan", "faults", "predictions", "phases")
    write_json(rundir.manifest, make_manifest(scenario) | {key: ours[key] for key in kept} | {"clock": None})
    rundir.samples.write_text(SAMPLES, encoding="utf-8")
    return rundir


def test_a_run_becomes_a_summary_and_a_report(tmp_path):
    rundir = write(node_crash(), tmp_path / "run")
    summary = write_report(rundir)
    assert (summary["verdict"], summary["reasons"]) == ("pass", [])
    assert json.loads(rundir.summary.read_text(encoding="utf-8")) == summary
    ledger = summary["ledger"]
    assert (ledger["published"], ledger["owed"], ledger["delivered"], ledger["lost"]) == (100, 200, 174, 26)
    (fault,) = summary["loss"]["by_fault"]
    assert (fault["predicted"], fault["measured"]) == (20, 26)
    assert fault["predicted_from_outage"] == pytest.approx(25.05, abs=0.06), "100/s × 250.5 ms of one client"
    assert summary["recovery_ms"]["all_back"] == pytest.approx(251.0)
    assert summary["recovery_ms"]["max"] == pytest.approx(262.0)
    assert summary["latency_ms"]["n"] == 174
    page = (rundir.path / "report.html").read_text(encoding="utf-8")
    assert "crash node-2" in page
    assert "loss.unexplained == 0" in page
    assert "crash node-2" in (rundir.path / "report.md").read_text(encoding="utf-8")
    assert {"heatmap.png", "heatmap.svg"} <= {path.name for path in rundir.charts.iterdir()}


def test_a_report_can_be_made_again_and_is_the_same(tmp_path):
    rundir = write(node_crash(), tmp_path / "run")
    files = (rundir.summary, rundir.path / "report.md")

    def made() -> list[bytes]:
        write_report(rundir, formats={"markdown"})
        return [path.read_bytes() for path in files]

    assert made() == made()
    assert not (rundir.path / "report.html").exists(), "only what was asked for"


def test_an_aborted_run_has_a_report_that_says_partial(tmp_path):
    history = node_crash(status="aborted", close_stripes=False, heartbeat_ms=700, drain_ms=None, drain_ended_by=None)
    rundir = write(history, tmp_path / "run")
    summary = write_report(rundir)
    assert summary["partial"] is True
    assert summary["verdict"] == "invalid"
    assert "partial" in summary["reasons"][0]
    assert summary["evidence"]["complete_until_s"] == pytest.approx(0.7)
    assert "aborted" in (rundir.path / "report.html").read_text(encoding="utf-8")
    assert "aborted" in (rundir.path / "report.md").read_text(encoding="utf-8")


def test_a_run_that_ended_before_its_time_0_has_a_report_too(tmp_path):
    rundir = write(History(clients=2, nodes=2, epoch=False, status="failed"), tmp_path / "run")
    rundir.samples.unlink()
    summary = write_report(rundir)
    assert summary["verdict"] == "invalid"
    assert summary["evidence"]["complete_until_s"] is None
    assert (rundir.path / "report.html").stat().st_size > 0


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(MeasurementError, match=r"manifest\.json does not exist"):
        write_report(RunDir(tmp_path))


def test_damaged_samples_are_named(tmp_path):
    path = tmp_path / "samples.csv"
    assert read_samples(path) == []
    path.write_text("t_s,metric,unit,value\n1,cpu,node-1,much\n", encoding="utf-8")
    with pytest.raises(MeasurementError, match=r"samples\.csv cannot be read: .*much"):
        read_samples(path)
