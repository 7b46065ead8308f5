"""compare and calibrate as a user types them, with runs that are made up: what is run, in which order, what is said."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fanlab import clicompare, pairing
from fanlab.analysis.baseline import Baseline, make_baseline
from fanlab.cli import cli
from fanlab.errors import FanlabError
from fanlab.report.summary import make_summary
from support.accounts import make_account, make_manifest

SCENARIO = """name: short
question: Is it slower?
topology: {nodes: {count: 2, env: {SLOW: "SLOWNESS"}}}
channels: [news]
clients: [{group: readers, count: 4, channels: [news]}]
publishers: [{name: ticker, channel: news, rate: 100/s}]
phases: {warm_up: 1s, measure: 10s}
"""


class Runs:
    """In the place of real ones: a level that wanders, times how slow the scenario says that its nodes are."""

    def __init__(self) -> None:
        self.invalid: set[int] = set()
        self.lossy: set[int] = set()
        self.restart()

    def restart(self) -> None:
        self.names: list[str] = []
        self._random = np.random.default_rng(11)

    def run(self, session: pairing.Session, loaded, name: str) -> Baseline:
        number = len(self.names)
        self.names.append(name)
        account, manifest = make_account(), make_manifest(loaded.scenario, workers=session.workers, faults=[])
        summary = make_summary(account, manifest) | {"backend": session.backend}
        made = make_baseline(account, summary, manifest, name)
        slow = float(loaded.scenario.topology.nodes[0].env["SLOW"]) * float(
            np.exp(0.02 * self._random.standard_normal())
        )
        latency = {
            key: value if key == "n" or value is None else value * slow for key, value in made.latency_ms.items()
        }
        counts = {**made.counts, "loss.outside_faults": int(number in self.lossy)}
        verdict = "invalid" if number in self.invalid else "pass"
        return replace(made, latency_ms=latency, counts=counts, verdict=verdict, by_fault={})


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    made = Runs()
    monkeypatch.setattr(pairing.Session, "run", lambda *given: made.run(*given))  # noqa: PLW0108 - to be a method
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name, slowness in (("a", "1.0"), ("b", "1.2")):
        (tmp_path / f"{name}.yaml").write_text(SCENARIO.replace("SLOWNESS", slowness))
    return made


def fanlab(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, list(words))
    if isinstance(done.exception, FanlabError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done.exit_code, done.output


def test_a_slower_system_is_found(runs: Runs) -> None:
    code, said = fanlab("compare", "a.yaml", "b.yaml", "--pairs", "12")
    assert code == 1, said
    assert "B is worse" in said
    assert "how noisy p50 and p99 are here is not known" in said
    assert len(runs.names) == 24
    blocks = ["".join(name[-1] for name in runs.names[at : at + 4]) for at in range(0, 24, 4)]
    assert set(blocks) == {"abba", "baab"}


@pytest.mark.usefixtures("runs")
def test_the_same_system_is_not() -> None:
    code, said = fanlab("compare", "a.yaml", "a.yaml", "--pairs", "12", "--json", "--min-effect", "10%")
    found = json.loads(said[said.index("{\n") :])
    assert (code, found["verdict"], found["worse"]) == (0, "no worse", [])
    assert [one["min_effect"] for one in found["latency"]] == [0.1, 0.1]


def test_an_effect_that_is_asked_for_is_no_calibration(runs: Runs) -> None:
    def interval(*asked: str) -> list[float]:
        runs.restart()
        said = fanlab("compare", "a.yaml", "a.yaml", "--pairs", "12", "--json", *asked)[1]
        found = json.JSONDecoder().raw_decode(said, said.index("{\n"))[0]
        assert found["latency"][0]["min_effect"] == (0.01 if asked else 0.1)
        assert f"until then {1 if asked else 10}% counts" in found["notes"][0]
        return [found["latency"][0]["low"], found["latency"][0]["high"]]

    assert interval("--min-effect", "1%") == interval()


@pytest.mark.usefixtures("runs")
def test_few_pairs_are_inconclusive_and_strictly_that_is_a_failure() -> None:
    code, said = fanlab("compare", "a.yaml", "b.yaml", "--pairs", "2")
    assert (code, "warning: inconclusive" in said) == (0, True)
    assert fanlab("compare", "a.yaml", "b.yaml", "--pairs", "2", "--strict")[0] == 1


def test_a_single_lost_message_is_worse(runs: Runs) -> None:
    runs.lossy = {1}
    order = pairing.orders(12, 1)
    code, said = fanlab("compare", "a.yaml", "a.yaml", "--pairs", "12")
    assert code == (0 if order[0] else 1), "of A's it is none"
    assert ("loss.outside_faults is 1, and was 0" in said) is not order[0]


def test_invalid_pairs_are_made_again_and_at_last_given_up(runs: Runs) -> None:
    runs.invalid = {0, 5}
    code, said = fanlab("compare", "a.yaml", "a.yaml", "--pairs", "6", "--min-effect", "10%")
    assert (code, len(runs.names)) == (0, 16)
    assert said.count("once more: ") == 2
    runs.invalid = set(range(100))
    code, said = fanlab("compare", "a.yaml", "a.yaml", "--pairs", "6")
    assert (code, "only 0 of 6 could be compared" in said) == (3, True)


def test_other_questions_are_refused_before_anything_runs(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(SCENARIO.replace("SLOWNESS", "1").replace("100/s", "50/s"))
    code, said = fanlab("compare", "a.yaml", "c.yaml", "--pairs", "6")
    assert (code, "another load: publishers differ" in said, runs.names) == (2, True, [])
    assert fanlab("compare", "a.yaml", "b.yaml", "--pairs", "6", "--min-effect", "no")[0] == 2


@pytest.mark.parametrize(
    "option",
    [
        *(["--seed", "1"], ["--min-effect", "5%"], ["--backend", "docker"], ["--workers", "1"], ["--strict"]),
        *(["--set", "seed=1"], ["--out", "runs"], ["--noise", "noise.json"]),
    ],
)
def test_without_pairs_no_option_of_theirs_is_ignored(option: list[str]) -> None:
    code, said = fanlab("compare", "a", "b", *option)
    assert (code, f"{option[0]}: only with --pairs" in said) == (2, True), said


@pytest.mark.usefixtures("runs")
def test_calibrate_finds_the_noise_that_compare_then_uses(tmp_path: Path) -> None:
    code, said = fanlab("calibrate", "a.yaml", "--runs", "24")
    assert code == 0, said
    assert "p50: an effect counts from 5.0% on, with 12 pairs" in said
    assert "p50: to find 20% more in 19 of 20 comparisons, take 8 pairs" in said
    assert (tmp_path / "cache" / "fanlab" / "noise.json").exists()
    code, said = fanlab("compare", "a.yaml", "b.yaml", "--pairs", "12")
    assert code == 1
    assert "is not known" not in said
    for other in (["--backend", "docker"], ["--workers", "2"]):
        assert "p50 and p99 are here is not known" in fanlab("compare", "a.yaml", "a.yaml", "--pairs", "12", *other)[1]
    code, said = fanlab("compare", "a.yaml", "a.yaml", "--pairs", "12")
    assert (code, "B is no worse" in said) == (0, True), said


def test_every_verb_has_its_help() -> None:
    for verb in (clicompare.baseline, clicompare.compare, clicompare.calibrate):
        assert verb.help
