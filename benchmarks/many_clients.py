"""How many connections does one machine hold? A run with 50 000 clients on three nodes, a message a second to all.

    .venv/bin/python benchmarks/many_clients.py --check

Told are whether the account is exact, how fast the clients came (from the first that began to connect to the last that
was subscribed), and the most memory that the generator held at any time: Locust, engines, journals and fanlab itself,
as the sum of their resident sets, which counts shared pages more than once. With --check the exit code is 1 where
something is lost or not accounted for, fewer than 2 000 clients a second came, or more than 2.5 GB were held.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "bench"))

from usage import Usage

from fanlab.clock import NS_PER_S
from fanlab.ledger.stripe import Kind, StripeReader, json_lines

LEAST_PER_S = 2_000.0
MOST_BYTES = 2.5e9
SCENARIO = """
name: many-clients
question: Do {clients} clients get a message a second from three nodes, each of them each?
topology: {{nodes: {{kind: picows, count: 3, journal: false}}}}
channels: [news]
clients: [{{group: readers, count: {clients}, spawn_rate: {spawn_rate:g}/s, channels: [news]}}]
publishers: [{{name: ticker, channel: news, rate: {rate:g}/s}}]
phases: {{warm_up: 2s, measure: {seconds:g}s, drain: {{quiet: 2s, deadline: 60s}}}}
limits: {{schedule_lag_p99: 10s, loop_lag_p99: 10s, bias_p99: 10s, cpu: 1.0, steal: 1.0}}
"""


def main() -> None:
    """One run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--spawn-rate", type=float, default=3_000.0, help="clients a second")
    parser.add_argument("--rate", type=float, default=1.0, help="messages a second, each to every client")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--check", action="store_true", help="exit with 1 where it falls short")
    parser.add_argument("--keep", type=Path, help="keep the run's folder here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fanlab-") as temporary:
        path, run = Path(temporary) / "many.yaml", arguments.keep or Path(temporary) / "run"
        path.write_text(SCENARIO.format(**vars(arguments)), encoding="utf-8")
        argv = [sys.executable, "-m", "fanlab", "run", str(path), "--workers", str(arguments.workers)]
        running = subprocess.Popen(
            [*argv, "--out", str(run), "--no-progress"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        with Usage(running.pid, is_generator) as usage:
            said, _ = running.communicate(timeout=600)
        if not (run / "summary.json").exists():
            raise SystemExit(f"the run came to nothing:\n{said}")
        summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
        per_s = came_per_s(run)
    ledger = summary["ledger"]
    exact = ledger["owed"] == ledger["delivered"] == arguments.clients * ledger["published"]
    peak = max(usage.rss_bytes)
    print("| clients | published | delivered | exact | clients per second | generator's memory | per connection |")
    print("| ---: | ---: | ---: | --- | ---: | ---: | ---: |")
    print(
        f"| {arguments.clients:,} | {ledger['published']} | {ledger['delivered']:,} | {'yes' if exact else 'NO'} |"
        f" {per_s:,.0f} | {peak / 1e9:.2f} GB | {peak / arguments.clients / 1e3:.0f} kB |"
    )
    if arguments.check and (short := shortcomings(exact=exact, per_s=per_s, peak_bytes=peak)):
        raise SystemExit(f"{'; '.join(short)}; the run said:\n{said}")


def shortcomings(*, exact: bool, per_s: float, peak_bytes: float) -> list[str]:
    """In what it falls short of what is asked for."""
    found = [] if exact else ["the account is not exact"]
    found += [f"{per_s:.0f} clients came per second"] if per_s < LEAST_PER_S else []
    return found + ([f"{peak_bytes / 1e9:.2f} GB were held"] if peak_bytes > MOST_BYTES else [])


def is_generator(words: list[str]) -> bool:
    """Whether a process of the run is neither a node nor Redis."""
    return not any(word.endswith(("server.py", "redis-server")) for word in words)


def came_per_s(run: Path) -> float:
    """Clients per second, from the first that began to connect to the last that was subscribed for the first time."""
    began: list[int] = []
    subscribed: dict[int, int] = {}
    for path in sorted((run / "journal").glob("clients-*.stripe")):
        for frame in StripeReader(path):
            for event in json_lines(frame) if frame.kind is Kind.EVENTS else ():
                if event["ev"] == "connecting":
                    began.append(event["t"])
                elif event["ev"] == "subscribed":
                    subscribed.setdefault(event["client"], event["t"])
    return len(subscribed) / (max(subscribed.values()) - min(began)) * NS_PER_S


if __name__ == "__main__":
    main()
