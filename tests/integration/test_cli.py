"""The verbs as a user types them: what they print, and what they exit with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import RealRedis
from fanlab import resources
from support.running_system import patient

QUICKSTART = resources.folder("scenarios") / "quickstart.yaml"


def fanlab(*words: str, cwd: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "fanlab", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd, env={**os.environ, **env}
    )


def test_help_names_every_verb_and_the_exit_codes() -> None:
    done = fanlab("--help")
    assert done.returncode == 0
    for verb in (
        "demo",
        "run",
        "validate",
        "plan",
        "report",
        "gate",
        "baseline",
        "compare",
        "calibrate",
        "explain",
        "up",
        "down",
        "publish",
        "channels",
        "numsub",
        "list",
        "schema",
        "doctor",
        "init",
    ):
        assert f"\n  {verb} " in done.stdout
    assert "3    the measurement is invalid" in done.stdout


def test_version() -> None:
    assert "fanlab, version 0.1.0" in fanlab("--version").stdout


@pytest.mark.parametrize(
    "words", [["frobnicate"], ["run"], ["run", "x.yaml", "--frob"], ["report"], ["run", "x.yaml", "--workers", "0"]]
)
def test_a_usage_error_exits_with_2(words: list[str]) -> None:
    done = fanlab(*words)
    assert done.returncode == 2
    assert "Usage" in done.stderr


def test_validate_says_that_all_bundled_scenarios_are_good() -> None:
    files = sorted(map(str, resources.folder("scenarios").glob("*.yaml")))
    done = fanlab("validate", *files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": good, 1 run") == len(files)


def test_validate_tells_the_errors_of_all_files_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(QUICKSTART.read_text().replace("channels: [news]", "chanels: [news]"))
    (tmp_path / "b.yaml").write_text(QUICKSTART.read_text().replace("rate: 50/s", "rate: fast"))
    done = fanlab("validate", "a.yaml", "b.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'channels'?" in done.stderr
    assert "b.yaml:" in done.stderr
    assert "'fast' is no rate" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["run", "plan", "validate", "up"])
def test_a_file_that_is_not_there_exits_with_2(verb: str, tmp_path: Path) -> None:
    done = fanlab(verb, "nowhere.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_that_is_nearly_a_bundled_one_is_told(tmp_path: Path) -> None:
    done = fanlab("plan", "node-crsh", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'node-crash'?" in done.stderr


def test_the_same_seed_gives_byte_identical_plans_and_another_one_another() -> None:
    words = [
        "plan",
        str(QUICKSTART),
        "--set",
        "faults.0.target=one",
        "--set",
        "publishers.ticker.rate={kind: poisson, rate: 50/s}",
    ]
    plans = [
        fanlab(*words, "--seed", seed, PYTHONHASHSEED=hash_seed).stdout
        for seed, hash_seed in (("5", "1"), ("5", "2"), ("6", "1"))
    ]
    assert plans[0] == plans[1] != ""
    assert plans[0] != plans[2]


def test_plan_as_json_is_json() -> None:
    assert json.loads(fanlab("plan", str(QUICKSTART), "--json").stdout)


def test_schema_is_a_json_schema() -> None:
    assert "topology" in json.loads(fanlab("schema").stdout)["properties"]


def test_list_shows_every_scenario_with_its_question() -> None:
    done = fanlab("list", COLUMNS="200")
    assert done.returncode == 0
    for path in resources.folder("scenarios").glob("*.yaml"):
        assert path.stem in done.stdout
    assert "websockets" in done.stdout


def test_doctor_finds_this_machine_fit() -> None:
    done = fanlab("doctor")
    assert done.returncode == 0, done.stdout
    assert "Redis" in done.stdout or "redis" in done.stdout


def test_init_writes_a_scenario_that_validates_and_never_overwrites(tmp_path: Path) -> None:
    assert fanlab("init", "mine.yaml", cwd=tmp_path).returncode == 0
    assert fanlab("validate", "mine.yaml", cwd=tmp_path).returncode == 0
    (tmp_path / "mine.yaml").write_text("precious")
    again = fanlab("init", "mine.yaml", cwd=tmp_path)
    assert again.returncode == 4
    assert (tmp_path / "mine.yaml").read_text() == "precious"


def test_report_of_a_directory_that_is_no_run_exits_with_3(tmp_path: Path) -> None:
    done = fanlab("report", str(tmp_path))
    assert done.returncode == 3
    assert "manifest.json does not exist" in done.stderr


def test_by_hand_verbs_say_that_nothing_is_up(tmp_path: Path) -> None:
    for words in (["publish", "news", "hello"], ["channels"], ["numsub", "news"]):
        done = fanlab(*words, FANLAB_STATE_DIR=str(tmp_path))
        assert done.returncode == 4
        assert "fanlab up" in done.stderr
    assert "nothing is up" in fanlab("down", FANLAB_STATE_DIR=str(tmp_path)).stdout


@pytest.mark.parametrize("before", ["pass", "cli.interruptible(asyncio.sleep(0))"])
def test_sigterm_is_a_ctrl_c_wherever_fanlab_is(before: str) -> None:
    program = (
        "import asyncio, os, signal\nfrom fanlab import cli\n"
        f"def busy(**_):\n    {before}\n    os.kill(os.getpid(), signal.SIGTERM)\n    return 0\n"
        "cli.cli.main = busy\ncli.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_ctrl_c_works_when_nobody_reads_what_is_said_of_it() -> None:
    program = (
        "import asyncio, os, signal\nfrom fanlab import cli\n"
        "async def busy():\n    os.kill(os.getpid(), signal.SIGINT)\n    await asyncio.sleep(60)\n"
        "cli.cli.main = lambda **_: cli.interruptible(busy())\ncli.main()"
    )
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stderr:
        done = subprocess.run([sys.executable, "-c", program], stderr=stderr, timeout=30, check=False)
    assert done.returncode == 130


@pytest.mark.system
@pytest.mark.parametrize("words", [[], ["--json"]])
def test_a_run_that_nobody_watches_any_more_goes_on_to_its_verdict(words: list[str], tmp_path: Path) -> None:
    settings = patient("phases.measure=1s", "faults=[]")
    command = [sys.executable, "-m", "fanlab", "run", "quickstart", "--out", str(tmp_path / "run"), *settings, *words]
    harness = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert harness.stdout is not None
        assert harness.stderr is not None
        harness.stdout.close()
        harness.stderr.readline()
        harness.stderr.close()
        assert harness.wait(timeout=60) == 0
    finally:
        harness.kill()
        harness.wait()
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "complete"
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["verdict"] == "pass"


@pytest.mark.system
def test_up_publish_channels_numsub_down(tmp_path: Path) -> None:
    from websockets.sync.client import connect

    state = {"FANLAB_STATE_DIR": str(tmp_path / "state")}
    up = fanlab("up", str(QUICKSTART), cwd=tmp_path, **state)
    try:
        assert up.returncode == 0, up.stderr
        address = next(
            word
            for line in up.stdout.splitlines()
            if line.startswith("node-2")
            for word in line.split()
            if word.startswith("ws://")
        )
        assert fanlab("publish", "news", "to nobody", **state).stdout == "0\n"
        with connect(address) as client:
            client.send('{"type":"subscribe","channels":["news"]}')
            assert "subscribed" in str(client.recv(timeout=5))
            assert fanlab("numsub", "news", "jobs", **state).stdout == "news 1\njobs 0\n"
            assert "news" in fanlab("channels", **state).stdout.split()
            assert fanlab("publish", "news", "hello", **state).stdout == "1\n"
            assert client.recv(timeout=5) == "hello"
        second = fanlab("up", str(QUICKSTART), cwd=tmp_path, **state)
        assert second.returncode == 4
        assert "fanlab down" in second.stderr
    finally:
        down = fanlab("down", **state)
    assert down.returncode == 0
    assert "is gone" in down.stdout


@pytest.mark.system
def test_the_password_of_an_adopted_redis_stays_out_of_the_run_directory(real_redis: RealRedis, tmp_path: Path) -> None:
    import redis

    with redis.Redis.from_url(real_redis.url) as client:
        client.config_set("requirepass", "canary-secret")
    url = real_redis.url.replace("redis://", "redis://:canary-secret@")
    settings = patient("phases.measure=1s", "faults=[]")
    done = fanlab("run", "quickstart", "--out", str(tmp_path / "run"), "--redis-url", url, *settings)
    assert done.returncode == 0, done.stderr + done.stdout
    told = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and b"canary-secret" in path.read_bytes()]
    assert told == []
    assert "canary-secret" not in done.stdout + done.stderr
