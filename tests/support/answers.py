"""What each bundled scenario answers, by its header: looked for in its summary, whatever backend it was run on."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Summary = dict[str, Any]

# A test looks at the account, not at how fast this machine is just now: a late generator is late, but loses nothing.
LIMITS = ("schedule_lag_p99=10s", "loop_lag_p99=10s", "bias_p99=10s", "cpu=1", "steal=1")
PATIENT = tuple(word for limit in LIMITS for word in ("--set", f"limits.{limit}"))


def _nothing_wrong(summary: Summary) -> None:
    ledger = summary["ledger"]
    assert {
        name: ledger[name] for name in ("lost", "duplicated", "reordered", "unexpected", "indeterminate")
    } == dict.fromkeys(("lost", "duplicated", "reordered", "unexpected", "indeterminate"), 0)
    assert ledger["delivered"] == ledger["owed"] > 0


def _near(summary: Summary, measured: float, predicted: float, share: float) -> None:
    """As much as predicted, give or take that share; in containers perhaps more."""
    assert (1 - share) * predicted <= measured <= _most(summary, (1 + share) * predicted), (measured, predicted)


def _most(summary: Summary, bound: float) -> float:
    """A container that is gone refuses nothing: whoever dials it meanwhile asks again after 1 s and 3 s."""
    return bound if summary["backend"] == "process" else 3 * bound


def _as_long_as_away(summary: Summary, fault: dict[str, Any], share: float) -> None:
    """A busy machine keeps clients away for longer than was foretold; they lose by so much more, and no less."""
    assert fault["measured"] >= (1 - share) * fault["predicted"], fault
    _near(summary, fault["measured"], max(fault["predicted"], fault["predicted_from_outage"]), share)


def _hits(summary: Summary, most: int) -> int:
    """Who still dials the node before when the next one goes is on another one then, in containers."""
    return most if summary["backend"] == "process" else round(1.25 * most)


def hit_by_the_crash_alone(summary: Summary) -> None:
    """A client that has come to another node may still lose a message there, before it is subscribed."""
    assert summary["loss"]["outside_faults"] == 0
    assert summary["loss"]["by_node"]["node-2"] >= 0.95 * summary["ledger"]["lost"] > 0


def quickstart(summary: Summary) -> None:
    hit_by_the_crash_alone(summary)
    assert summary["clients"]["reconnects"] == 20
    assert summary["faults"][0]["heal_confirmed"] is not None


def node_crash(summary: Summary) -> None:
    assert summary["clients"]["reconnects"] == 30
    (fault,) = summary["loss"]["by_fault"]
    assert fault["predicted"] == 1200
    _as_long_as_away(summary, fault, 0.2)
    assert fault["measured"] == summary["ledger"]["lost"]


def rolling_restart(summary: Summary) -> None:
    assert 120 <= summary["clients"]["reconnects"] <= _hits(summary, 120)  # 20 clients at first, then 40, then 60
    assert all(fault["heal_confirmed"] is not None for fault in summary["faults"])
    assert [fault["predicted"] for fault in summary["loss"]["by_fault"]] == [200, 400, 600]
    for fault in summary["loss"]["by_fault"]:
        _as_long_as_away(summary, fault, 0.5)


def nobody_listening(summary: Summary) -> None:
    publishers, ledger = summary["publishers"], summary["ledger"]
    assert 100 <= publishers["unheard"] <= 130
    assert 0 < ledger["owed"] <= 10 * (200 - publishers["unheard"])
    assert ledger["delivered"] + ledger["indeterminate"] == ledger["owed"]


def two_channels(summary: Summary) -> None:
    _nothing_wrong(summary)
    assert summary["ledger"]["published"] == 120 + 60
    assert summary["ledger"]["delivered"] == 20 * 120 + 20 * 60


def three_servers(summary: Summary) -> None:
    _nothing_wrong(summary)
    assert summary["ledger"]["delivered"] == 60


def redis_restart(summary: Summary) -> None:
    lost, predicted = summary["ledger"]["lost"], summary["loss"]["by_fault"][0]["predicted"]
    assert predicted == 1500
    assert (
        0.95 * predicted <= lost <= _most(summary, 2 * predicted)
    )  # a lower bound: Redis and the nodes need a moment to come back
    assert summary["publishers"]["failed"] > 0
    assert {cause for cause, n in summary["loss"]["by_cause"].items() if n} <= {
        "redis_down",
        "publish_failed",
        "resubscribe_gap",
        "no_subscriber",
    }


def paused_node(summary: Summary) -> None:
    _nothing_wrong(summary)
    assert summary["latency_ms"]["p50"] < 500
    assert 1000 <= summary["latency_ms"]["max"] < 3000


def redis_pause(summary: Summary) -> None:
    _nothing_wrong(summary)
    assert summary["publishers"]["timed_out"] == 0
    assert 1000 <= summary["latency_ms"]["max"] < 3000


def small_output_buffer(summary: Summary) -> None:
    lost = summary["ledger"]["lost"]
    assert lost >= 4 * 30
    _near(summary, lost, 4 * 30, 0.5)
    (fault,) = summary["loss"]["by_fault"]
    assert fault["measured"] == lost == summary["loss"]["by_cause"]["output_buffer_kill"]
    assert summary["ledger"]["indeterminate"] == summary["ledger"]["duplicated"] == 0


def out_of_memory(summary: Summary) -> None:
    (fault,) = summary["loss"]["by_fault"]
    assert fault["measured"] == summary["ledger"]["lost"]
    hit_by_the_crash_alone(summary)
    back = summary["recovery_ms"]["by_fault"][fault["fault"]]
    assert 10 <= back["clients"] <= 210
    assert summary["ledger"]["lost"] >= 4 * back["clients"]  # of some 6 each
    assert back["detected_max"] < 1000  # since the kernel killed the node, not since the limit was set
    assert summary["faults"][0]["heal_confirmed"] is not None
    assert {cause for cause, n in summary["loss"]["by_cause"].items() if n} <= {
        "client_reconnecting",
        "node_crash_in_flight",
    }


def throttled_node(summary: Summary) -> None:
    _nothing_wrong(summary)
    assert summary["latency_ms"]["p50"] < 500
    assert summary["latency_ms"]["max"] >= 300


def stale_cache(summary: Summary) -> None:
    cache = summary["cache"]
    assert cache["owed"] == cache["refreshed"] + cache["missed"] == 3 * cache["updates"]
    assert cache["by_cause"]["resubscribe_gap"] == cache["missed"]
    _near(summary, cache["missed"], 210, 0.25)
    assert {name: node["wrong_for_good"] for name, node in cache["by_node"].items()} == {
        "node-1": 20,
        "node-2": 20,
        "node-3": 20,
    }
    assert cache["reads_missing"] == cache["stale_reads_withheld"] == 0
    assert 0.12 <= cache["stale_ratio"] <= 0.3
    assert cache["stale_reads"] - cache["stale_reads_lost"] <= 0.05 * cache["stale_reads"]
    assert cache["staleness_ms"]["max"] > 4000
    assert cache["refresh_ms"]["n"] == cache["refreshed"]


def ws_node_crash(summary: Summary) -> None:
    assert 20 + 20 + 40 <= summary["clients"]["reconnects"] <= _hits(summary, 20 + 20 + 40)
    assert [fault["predicted"] for fault in summary["loss"]["by_fault"]] == [400, 400, 800]
    for fault in summary["loss"]["by_fault"]:
        assert (
            0.85 * fault["predicted"] <= fault["measured"] <= _most(summary, 2 * fault["predicted"])
        )  # connecting is left out
    assert all(fault["heal_confirmed"] is not None for fault in summary["faults"])
    assert summary["ledger"]["lost"] == sum(fault["measured"] for fault in summary["loss"]["by_fault"])
    assert summary["ledger"]["duplicated"] == 0


EXPECTED: dict[str, Callable[[Summary], None]] = {
    "quickstart": quickstart,
    "steady": _nothing_wrong,
    "node-crash": node_crash,
    "rolling-restart": rolling_restart,
    "nobody-listening": nobody_listening,
    "two-channels": two_channels,
    "three-servers": three_servers,
    "redis-restart": redis_restart,
    "paused-node": paused_node,
    "redis-pause": redis_pause,
    "small-output-buffer": small_output_buffer,
    "out-of-memory": out_of_memory,
    "throttled-node": throttled_node,
    "stale-cache": stale_cache,
    "ws-node-crash": ws_node_crash,
}


def as_expected(
    name: str,
    out: Path,
    *words: str,
    cwd: Path | None = None,
    within_s: float = 150,
    answer: Callable[[Summary], None] | None = None,
) -> Summary:
    """Run it, and see that it passes, that its account adds up, and that the answer is the one expected."""
    command = [sys.executable, "-m", "fanlab", "run", name, "--out", str(out), "--json", "--no-progress", *PATIENT]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=within_s, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr + done.stdout
    summary = json.loads(done.stdout)
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary["verdict"] == "pass"
    assert summary["loss"]["unexplained"] == 0
    ledger = summary["ledger"]
    assert ledger["owed"] == ledger["delivered"] + ledger["lost"] + ledger["indeterminate"]
    (answer or EXPECTED[name])(summary)
    return summary
