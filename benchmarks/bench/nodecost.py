"""What does a delivery cost a node? CPU per delivery and memory per connection of fanlab's nodes and of Socket.IO.

    .venv/bin/python benchmarks/bench/nodecost.py --rounds 5

Each round has every node once, with the same stream and the same clients: the floor in C, which disturbs it least.
Nodes write no journal. CPU is the node's process's own while the stream lasts, memory what it holds more with all
clients than with a tenth of them. Told are medians, and medians of the ratios within a round to Socket.IO's.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import peers
from system import System, end_in_order, until
from usage import Usage

from fanlab import resources

ROOT = Path(__file__).resolve().parents[2]
SOCKETIO = "socketio"
OURS = ("websockets", "picows", "ws-node")


def main() -> None:
    """Run all rounds, print the table, add the figure to bench.json if there is one."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", nargs="*", default=[*OURS, SOCKETIO], choices=[*OURS, SOCKETIO])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--tools", type=Path, default=ROOT / ".bench", help="where peers are installed")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "bench.json")
    arguments = parser.parse_args()
    if not peers.install(["floor"], arguments.tools):
        raise SystemExit("the clients are the floor, which a C compiler makes")
    names = [name for name in arguments.nodes if _can_be(name, arguments.tools)]
    cost: dict[str, list[float]] = {name: [] for name in names}
    memory: dict[str, list[float]] = {name: [] for name in names}
    few = max(1, arguments.clients // 10)
    with tempfile.TemporaryDirectory(prefix="fanlab-") as temporary:
        for number in range(arguments.rounds):
            for name in names:
                place = Path(temporary) / f"{number}-{name}"
                cpu_us, held = measure(name, arguments, arguments.clients, place)
                _, held_by_few = measure(name, arguments, few, place.with_name(f"{place.name}-few"), seconds=1.0)
                cost[name].append(cpu_us)
                memory[name].append((held - held_by_few) / (arguments.clients - few) / 1e3)
                print(f"round {number + 1}: {name} {cpu_us:.1f} µs a delivery", file=sys.stderr, flush=True)
    last = names[-1]
    print(f"| node | CPU per delivery, µs | to {last} | memory per connection, kB | to {last} |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in names:
        cells = [f"{statistics.median(cost[name]):.1f}", f"{ratio(cost[name], cost[last]):.2f}"]
        cells += [f"{statistics.median(memory[name]):.1f}", f"{ratio(memory[name], memory[last]):.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")
    if {"picows", SOCKETIO} <= set(names):
        _add(arguments.out, node_cpu_ratio_socketio=ratio(cost["picows"], cost[SOCKETIO]))


def measure(
    name: str, arguments: argparse.Namespace, clients: int, folder: Path, *, seconds: float | None = None
) -> tuple[float, float]:
    """CPU per delivery in µs, and the memory held in bytes."""
    seconds = seconds or arguments.seconds
    extra = [SOCKETIO] if name == SOCKETIO else []
    with contextlib.ExitStack() as stack:
        system = stack.enter_context(system_of(name, arguments.tools, folder))
        argv = [str(arguments.tools / "floor"), str(system.node_port), str(clients), *extra]
        said = folder / "floor"
        with said.with_suffix(".out").open("wb") as out, said.with_suffix(".err").open("wb") as err:
            floor = subprocess.Popen(argv, stdout=out, stderr=err)
        stack.callback(floor.kill)
        until(lambda: "ready" in said.with_suffix(".err").read_text(), f"{clients} clients of {name}", 60)
        time.sleep(1.0)  # the last subscriptions are confirmed
        with Usage(system.node_pid) as usage:
            stream = ROOT / "benchmarks" / "bench" / "stream.py"
            argv = [sys.executable, str(stream), str(system.redis_port), str(arguments.rate), str(seconds), *extra]
            done = subprocess.run(argv, input="end\n", capture_output=True, text=True, timeout=120, check=True)
        floor.terminate()
        floor.wait(20)
        delivered = json.loads(said.with_suffix(".out").read_text())["deliveries"]
    start_ns = int(json.loads(done.stdout)["start_ns"])
    end_ns = start_ns + round((seconds + 1) * 1e9)
    if not delivered:
        raise SystemExit(f"{name} delivered nothing")
    return usage.cpu_between_s(start_ns, end_ns) * 1e6 / delivered, usage.rss_at(end_ns)


def system_of(name: str, tools: Path, folder: Path) -> System:
    """The node, with a Redis of its own."""
    if name == SOCKETIO:
        return System(folder, command=("node", "server.js"), home=tools / SOCKETIO)
    if name == "ws-node":
        return System(folder, kind=name, home=tools / "ws-node")
    return System(folder, kind=name)


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def _can_be(name: str, tools: Path) -> bool:
    """Install what a node in Node.js needs; says why where that cannot be."""
    sources = {SOCKETIO: peers.HERE / SOCKETIO, "ws-node": resources.folder("nodes") / "ws-node"}
    if name not in sources:
        return True
    home = tools / name
    if not (home / "node_modules").exists():
        if shutil.which("npm") is None:
            print(f"without {name}: it is installed by npm, which is not here", file=sys.stderr)
            return False
        shutil.copytree(sources[name], home, dirs_exist_ok=True)
        argv = ["npm", "ci", "--prefix", str(home), "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"without {name}: {done.stderr.strip()[-300:]}", file=sys.stderr)
            shutil.rmtree(home)
            return False
    return True


def _add(path: Path, **figures: float) -> None:
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**known, **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
