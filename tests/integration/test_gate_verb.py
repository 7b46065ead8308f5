"""`fanlab gate`, what CI reads of a real run, and the steps of the GitHub action and of the GitLab snippet, in bash."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.running_system import patient

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = """name: short
question: What does a crash cost?
topology: {nodes: {count: 2}}
channels: [news]
clients:
  - {group: readers, count: 10, spawn_rate: 100/s, channels: [news], reconnect: {initial: 300ms}}
publishers:
  - {name: ticker, channel: news, rate: 50/s}
phases: {warm_up: 500ms, measure: 3s, drain: {quiet: 500ms, deadline: 10s}}
faults:
  - {kind: crash, target: node-2, at: 1s, for: 500ms}
gates:
  - lost(node-1) == 0
  - delivered >= 99.9%
"""
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}


def fanlab(*words: str, cwd: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "fanlab", *words],
        capture_output=True, text=True, timeout=100, check=False, cwd=cwd, env={**QUIET, **env},
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scenario, and `run`, a run of it whose second gate failed, as a GitHub workflow has it."""
    folder = tmp_path_factory.mktemp("gated")
    (folder / "short.yaml").write_text(SCENARIO)
    done = fanlab(
        "run", "short.yaml", "--out", "run", "--junit", "ci/junit.xml", "--gitlab-metrics", "ci/metrics.txt",
        "--benchmark-json", "ci/benchmark.json", "--json", "--no-progress", *patient(),
        cwd=folder, GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(folder / "ci-summary.md"),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    (folder / "stdout.json").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


def test_a_run_tells_ci_what_failed_and_where(place: Path) -> None:
    summary = json.loads((place / "stdout.json").read_text())
    assert summary["verdict"] == "fail", summary["reasons"]
    (line,) = [line for line in (place / "stderr.txt").read_text().splitlines() if line.startswith("::")]
    assert re.match(r"::error file=short\.yaml,line=14,title=short::gate not met: delivered >= 99\.9%25: it is 9", line)
    shown = (place / "ci-summary.md").read_text()
    assert shown.startswith("# short: Fail\n\n## Gates\n")
    assert shown == (place / "run" / "report.md").read_text()
    assert (place / "ci" / "metrics.txt").read_text().endswith("# EOF\n")
    assert len(json.loads((place / "ci" / "benchmark.json").read_text())) >= 3
    assert '<failure message="gate not met: delivered &gt;= 99.9%"' in (place / "ci" / "junit.xml").read_text()


def test_parts_of_a_real_run_add_up(place: Path) -> None:
    summary = json.loads((place / "stdout.json").read_text())
    ledger = summary["ledger"]
    for term in ("owed", "delivered", "lost", "indeterminate"):
        assert summary["by_channel"]["news"][term] == ledger[term] == summary["by_group"]["readers"][term]
    assert (
        summary["by_channel"]["news"]["latency_ms"]
        == summary["latency_ms"]
        == summary["by_group"]["readers"]["latency_ms"]
    )
    assert summary["by_node"]["node-2"]["lost"] == ledger["lost"] > 0
    assert sum(part["delivered"] for part in summary["by_node"].values()) == ledger["delivered"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 1, "FAIL"),
        (["--gate", "lost(node-1) == 0", "--gate", "unexplained == 0"], 0, "PASS"),
        (["--gate", 'lost(fault="crash node-2 @1s") == 0'], 1, "FAIL"),
        (["--gates", "good.yaml"], 0, "PASS"),
        (["--gates", "good.yaml", "--gate", "lost == 0"], 1, "FAIL"),
        (["--gate", "lsot == 0"], 2, "did you mean 'lost'?"),
        (["--gate", "lost(node=node-9) == 0"], 2, "the run has no node 'node-9'"),
        (["--gates", "bad.yaml"], 2, "bad.yaml:2:3: "),
        (["--gates", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["--junit", "run"], 4, "cannot write run"),
    ],
)
def test_a_run_is_judged_again(place: Path, words: list[str], code: int, said: str) -> None:
    (place / "good.yaml").write_text("- delivered > 50%\n")
    (place / "bad.yaml").write_text("- delivered > 50%\n- latency.p99 < 5%\n")
    before = (place / "run" / "summary.json").read_bytes()
    done = fanlab("gate", "run", *words, cwd=place)
    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (place / "run" / "summary.json").read_bytes() == before


def test_the_gates_are_shown_first_with_value_and_margin(place: Path) -> None:
    lines = [line for line in fanlab("gate", "run", cwd=place).stdout.splitlines() if line.strip()]
    assert lines[0].strip() == "Gates"
    assert re.search(r"FAIL\s+delivered >= 99.9%\s+9\d\.?\d* %\s+−[\d.]+ % \(−[\d.]+ %\)", lines[3])
    assert "FAIL" in next(line for line in lines if "short" in line)


def test_a_run_that_broke_off_is_invalid_for_its_gates_too(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest | {"status": "aborted"}))
    done = fanlab("gate", "run", "--gate", "lost >= 0", "--junit", "junit.xml", cwd=tmp_path)
    assert done.returncode == 3
    assert "INVALID" in done.stdout
    assert (tmp_path / "junit.xml").read_text().count("<error ") == 8
    assert fanlab("gate", "no-such-run", cwd=tmp_path).returncode == 3


# The snippets of the docs. An expression of GitHub's is looked up among the inputs.


def on_path(folder: Path) -> str:
    """A PATH with this fanlab in front."""
    (folder / "bin").mkdir()
    (folder / "bin" / "fanlab").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fanlab "$@"\n')
    (folder / "bin" / "fanlab").chmod(0o755)
    return f"{folder / 'bin'}:{os.environ['PATH']}"


def bash(script: str, folder: Path, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """As GitHub runs `shell: bash`."""
    (folder / "step.sh").write_text(script)
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "step.sh"]
    return subprocess.run(words, capture_output=True, text=True, timeout=100, check=False, cwd=folder, env=dict(env))


def run_action(folder: Path, given: Mapping[str, str]) -> tuple[dict[str, str], int, list[str]]:
    """Outputs, the status of the last step that ran, and the actions of others that were skipped."""
    action = yaml.safe_load((ROOT / ".github" / "actions" / "fanlab" / "action.yml").read_text())
    assert (
        {name for name, one in action["inputs"].items() if one.get("required")} <= set(given) <= set(action["inputs"])
    )
    inputs = {name: one.get("default", "") for name, one in action["inputs"].items()} | given
    env = {**QUIET, "PATH": on_path(folder), "GITHUB_ACTIONS": "true", "CI": "true"}
    env |= {f"GITHUB_{name}": str(folder / name.lower()) for name in ("OUTPUT", "STEP_SUMMARY")}
    skipped, status = [], 0
    for step in action["runs"]["steps"]:
        if "uses" in step:
            skipped.append(step["uses"])
            continue
        condition = step.get("if", "")
        assert condition in ("", "inputs.install != ''"), condition
        if condition and not inputs["install"]:
            continue
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "an input in a script is a script of whoever writes the input"
        values = {name: re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value) for name, value in step["env"].items()}
        done = bash(step["run"], folder, env | {name: inputs[match[1]] for name, match in values.items() if match})
        assert all(values.values())
        (folder / "said.txt").write_text(done.stdout + done.stderr)
        status = done.returncode
        if status:
            break
    outputs = dict(line.split("=", 1) for line in (folder / "output").read_text().splitlines())
    return outputs, status, skipped


def test_the_action_runs_a_scenario(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text(SCENARIO.replace("delivered >= 99.9%", "delivered >= 1%"))
    outputs, status, skipped = run_action(tmp_path, {"scenario": "short.yaml", "args": " ".join(patient())})
    assert (outputs, status) == ({"run": "fanlab-out/run", "verdict": "pass"}, 0), (tmp_path / "said.txt").read_text()
    assert skipped == ["actions/upload-artifact@v4"]
    assert (tmp_path / "step_summary").read_text().startswith("# short: Pass")
    assert {path.name for path in (tmp_path / "fanlab-out").iterdir()} == {"run", "junit.xml", "benchmark.json"}


def test_the_action_judges_by_gates_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text(SCENARIO)
    (tmp_path / "gates.yaml").write_text("- lost == 0\n")
    given = {"scenario": "short.yaml", "args": " ".join(patient()), "gates": "gates.yaml"}
    outputs, status, _ = run_action(tmp_path, given)
    said = (tmp_path / "said.txt").read_text()
    assert (outputs["verdict"], status) == ("fail", 1), said
    assert (
        [line for line in said.splitlines() if line.startswith("::")]
        == [line for line in said.splitlines() if line.startswith("::error file=gates.yaml,line=1,title=short::")]
        != []
    )
    assert (tmp_path / "step_summary").read_text().count("# short: Fail") == 1


def test_the_action_tells_a_scenario_error(tmp_path: Path) -> None:
    outputs, status, _ = run_action(tmp_path, {"scenario": "nowhere.yaml"})
    assert (outputs["verdict"], status) == ("", 2)


def snippets(language: str) -> list[Any]:
    text = (ROOT / "docs" / "ci.md").read_text()
    return [yaml.safe_load(block) for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


def test_the_snippet_for_github_uses_the_action_as_it_is() -> None:
    workflow = snippets("yaml")[0]
    steps = workflow["jobs"]["fanlab"]["steps"]
    (mine,) = [step for step in steps if step["uses"] == "./.github/actions/fanlab"]
    action = yaml.safe_load((ROOT / ".github" / "actions" / "fanlab" / "action.yml").read_text())
    assert set(mine["with"]) <= set(action["inputs"])


def test_the_snippet_for_gitlab_works(tmp_path: Path) -> None:
    (job,) = [found["fanlab"] for found in snippets("yaml") if isinstance(found, dict) and "fanlab" in found]
    install, *script = job["script"]
    assert install.startswith("python -m pip install"), "left out here: fanlab is there"
    short = " ".join(patient("phases.measure=2s", "faults=[]"))
    env = {**QUIET, "PATH": on_path(tmp_path), "CI": "true"}
    done = bash("\n".join(f"{line} {short}" for line in script), tmp_path, env)
    assert done.returncode == 0, done.stdout + done.stderr
    for report in job["artifacts"]["reports"].values():
        assert (tmp_path / report).stat().st_size > 100


# Baselines of real runs.


def test_a_run_is_kept_and_held_against(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run", tmp_path / "run")
    assert "there is none" in fanlab("baseline", "list", cwd=tmp_path).stdout
    done = fanlab("baseline", "save", "run", "--name", "before", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "reports" / "baselines" / "before.json"
    assert file.stat().st_size < 20_000
    assert re.search(r"before\s+short", fanlab("baseline", "list", cwd=tmp_path).stdout)
    done = fanlab("gate", "run", "--gate", "unexplained == 0", "--baseline", "before", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one run each says nothing of latency" in done.stderr
    assert fanlab("compare", "before", "run", cwd=tmp_path).returncode == 0
    assert fanlab("compare", "before", "run", "--strict", cwd=tmp_path).returncode == 2

    kept = json.loads(file.read_text())
    counts = kept["counts"] | {"ledger.corrupted": 0, "publishers.planned": kept["counts"]["publishers.planned"] + 1}
    file.write_text(json.dumps(kept | {"counts": counts}))
    done = fanlab("gate", "run", "--gate", "unexplained == 0", "--baseline", "before", cwd=tmp_path)
    assert done.returncode == 1
    assert "worse than the baseline before: publishers.planned is" in " ".join(done.stdout.split())
    assert fanlab("compare", "before", "run", cwd=tmp_path).returncode == 1

    file.write_text(json.dumps(kept | {"parts": kept["parts"] | {"publishers": "another"}}))
    done = fanlab("gate", "run", "--baseline", "before", cwd=tmp_path)
    assert (done.returncode, "another load: publishers differ" in done.stderr) == (2, True)
    assert fanlab("compare", "before", "run", cwd=tmp_path).returncode == 2
    assert fanlab("compare", "nobody", "run", cwd=tmp_path).returncode == 2

    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest | {"status": "aborted"}))
    for words in (["baseline", "save", "run"], ["compare", "run", "run"]):
        done = fanlab(*words, cwd=tmp_path)
        assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr


def test_two_versions_are_run_in_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SCENARIO.replace("measure: 3s", "measure: 2s"))
    done = fanlab("compare", "a.yaml", "a.yaml", "--pairs", "1", "--out", "runs", "--json", *patient(), cwd=tmp_path)
    found = json.loads(done.stdout)
    assert (done.returncode, found["verdict"]) == (0, "inconclusive"), done.stderr
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"001-a", "001-b"}
    assert {one["what"] for one in found["counts"] if one["verdict"] == "worse"} == set()
