"""What does the link cost when it does nothing? Round trips and CPU through it, against a direct connection.

    .venv/bin/python benchmarks/link.py --connections 1 200 --rate 2000 --seconds 5 --rounds 5

A process of its own echoes messages of 128 bytes. They are sent at a constant rate, on one connection and then spread
over many, directly, through fanlab's link without toxics, and through HAProxy in TCP mode where it is installed: in
turn, within each round. Told are, as medians of the rounds:

- round trip: from the send until the echo is back; and how much longer it is than the direct one.
- CPU: the proxy's own, user and system, per message that it passed on (an echo is two), and as a ratio to the link's.

A short line is printed per round, then the table. Linux only: it reads other processes' CPU clocks.
"""

import argparse
import asyncio
import contextlib
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fanlab.link.client import LinkClient

MESSAGE = b"x" * 128
WARM_UP_S = 0.5
HAPROXY = """
global
    nbthread 1
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen echo
    bind 127.0.0.1:{port}
    server echo 127.0.0.1:{upstream}
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A port that leads to the echo, and the process in between."""

    port: int
    pid: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """One measurement."""

    p50_us: float
    p99_us: float
    cpu_us: float | None  # of the process in between, per message


def main() -> None:
    """Parent, or the echo."""
    parser = argparse.ArgumentParser(description="Latency and CPU that the link adds.")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 200])
    parser.add_argument("--rate", type=float, default=2000.0, help="messages per second, over all connections")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--echo", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.echo:
        echo()
    else:
        asyncio.run(compare(arguments))


async def compare(arguments: argparse.Namespace) -> None:
    """All rounds, then the table."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fanlab-")))
        server = stack.enter_context(child([sys.executable, __file__, "--echo"], stdout=subprocess.PIPE))
        port = int(server.stdout.readline()) if server.stdout else 0
        argv = [sys.executable, "-m", "fanlab.link.server", "--control", str(folder / "control")]
        link = stack.enter_context(child([*argv, "--journal", str(folder / "link.jsonl")]))
        ways = {"direct": Way(port, None)}
        async with LinkClient(folder / "control") as client:
            listen = await client.proxy("echo", f"127.0.0.1:{port}")
            ways["link"] = Way(int(listen.rpartition(":")[2]), link.pid)
            if binary := shutil.which("haproxy"):
                ways["haproxy"] = stack.enter_context(haproxy(binary, folder, port))
            else:
                print("there is no haproxy to compare with")
            rounds: dict[tuple[int, str], list[Figures]] = {}
            for number in range(1, arguments.rounds + 1):
                for count in arguments.connections:
                    for name, way in ways.items():
                        found = await asyncio.to_thread(measure, way, count, arguments.rate, arguments.seconds)
                        rounds.setdefault((count, name), []).append(found)
                        print(f"round {number}: {count} connections, {name}: {told(found)}", flush=True)
        table(rounds)


def told(found: Figures) -> str:
    """One measurement in a line."""
    cpu = "" if found.cpu_us is None else f", CPU {found.cpu_us:.1f} µs per message"
    return f"round trip p50 {found.p50_us:.0f} µs, p99 {found.p99_us:.0f} µs{cpu}"


def table(rounds: dict[tuple[int, str], list[Figures]]) -> None:
    """Medians, in Markdown."""
    print("\n| connections | way | p50 µs | p99 µs | p50 added | p99 added | CPU µs per message | of the link's |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for (count, name), found in rounds.items():
        p50, p99 = (statistics.median(getattr(one, field) for one in found) for field in ("p50_us", "p99_us"))
        added = [
            f"{statistics.median(getattr(a, field) - getattr(b, field) for a, b in pairs):+.0f}"
            for pairs in [list(zip(found, rounds[count, "direct"], strict=True))]
            for field in ("p50_us", "p99_us")
        ]
        cpu = statistics.median(one.cpu_us or 0.0 for one in found)
        of_link = cpu / statistics.median(one.cpu_us or 0.0 for one in rounds[count, "link"])
        last = ["", ""] if name == "direct" else [f"{cpu:.1f}", f"{of_link:.2f}"]
        print(f"| {count} | {name} | {p50:.0f} | {p99:.0f} | {added[0]} | {added[1]} | {last[0]} | {last[1]} |")


def measure(way: Way, count: int, rate: float, seconds: float) -> Figures:
    """Send at that rate for so long, each message on the next connection."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", way.port))) for _ in range(count)]
        poll = stack.enter_context(select.epoll())
        for one in sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            poll.register(one.fileno(), select.EPOLLIN)
        run(sockets, poll, rate, WARM_UP_S)
        before_s = cpu_s(way.pid)
        trips_ns = run(sockets, poll, rate, seconds)
        used_s = cpu_s(way.pid) - before_s
    trips_ns.sort()
    p50, p99 = (trips_ns[min(len(trips_ns) - 1, int(len(trips_ns) * share))] / 1e3 for share in (0.5, 0.99))
    return Figures(p50, p99, None if way.pid is None else used_s * 1e6 / len(trips_ns) / 2)


def run(sockets: list[socket.socket], poll: select.epoll, rate: float, seconds: float) -> list[int]:
    """Round trips in ns; returns when every message is back."""
    by_fd = {one.fileno(): one for one in sockets}
    sent_ns: dict[int, deque[int]] = {fd: deque() for fd in by_fd}
    rest = dict.fromkeys(by_fd, 0)
    trips_ns: list[int] = []
    total, sent, began_ns = round(rate * seconds), 0, time.perf_counter_ns()
    while len(trips_ns) < total:
        while sent < total and (now_ns := time.perf_counter_ns()) >= began_ns + sent / rate * 1e9:
            one = sockets[sent % len(sockets)]
            sent_ns[one.fileno()].append(now_ns)
            one.sendall(MESSAGE)
            sent += 1
        for fd, _ in poll.poll(max(0.0, (began_ns + sent / rate * 1e9 - time.perf_counter_ns()) / 1e9), len(sockets)):
            rest[fd] += len(by_fd[fd].recv(65_536))
            now_ns = time.perf_counter_ns()
            while rest[fd] >= len(MESSAGE):
                rest[fd] -= len(MESSAGE)
                trips_ns.append(now_ns - sent_ns[fd].popleft())
    return trips_ns


def cpu_s(pid: int | None) -> float:
    """What a process has used so far, to the nanosecond: clock_getcpuclockid(3), which Python lacks."""
    return 0.0 if pid is None else time.clock_gettime(~pid << 3 | 2)


def echo() -> None:
    """Send back whatever comes, until killed."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener, select.epoll() as poll:
        print(listener.getsockname()[1], flush=True)
        open_ones = {listener.fileno(): listener}
        poll.register(listener.fileno(), select.EPOLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == listener.fileno():
                    one, _ = listener.accept()
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    open_ones[one.fileno()] = one
                    poll.register(one.fileno(), select.EPOLLIN)
                    continue
                data = b""
                with contextlib.suppress(ConnectionError):
                    if data := open_ones[fd].recv(65_536):
                        open_ones[fd].sendall(data)
                if not data:
                    poll.unregister(fd)
                    open_ones.pop(fd).close()


@contextlib.contextmanager
def child(argv: list[str], stdout: int | None = None) -> Iterator["subprocess.Popen[str]"]:
    """A process, ended on the way out."""
    process = subprocess.Popen(argv, stdout=stdout, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def haproxy(binary: str, folder: Path, upstream: int) -> Iterator[Way]:
    """HAProxy with one thread, listening."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, upstream=upstream))
    with child([binary, "-db", "-q", "-f", str(config)]) as process:
        give_up_s = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > give_up_s:
                    raise SystemExit("haproxy does not start") from None
                time.sleep(0.02)
            else:
                yield Way(port, process.pid)
                return


if __name__ == "__main__":
    main()
