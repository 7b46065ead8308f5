"""How much of the latency that fanlab reports is its own? Probes in the engine against a client in another process.

    .venv/bin/python benchmarks/bias.py --clients 100 --rate 100 --seconds 10 --rounds 5

Each round is a `fanlab run` of one node: by default 100 clients × 100 messages a second, 10 000 deliveries a second.
Told are, for p50 and p99 of the measure phase:

- reported: latency_ms of summary.json, from intended send to the client.
- bias: generator.bias_ms, what the run's own probes say that the engine added; and its share of the former.
- waited: generator.wait_ms, for how long messages that the kernel had lay unread. That would be the bias if clients
  took the time at which they read a message for the time at which it came.
- independent: what a client in another process had, with code of its own: stamped by the kernel as the message arrives,
  on connections that are spread evenly over those of the clients. The node writes to the first one first, and the
  last one has waited for all: who stands where decides more than who receives. Nothing of any generator is in it, so
  reported − bias should come near it; and how far reported lies above it, as a share of reported.

A line is printed per round, then the median of the rounds. With --check the medians are judged: exit 1 if the bias is
above 5 % of the reported p50 or 10 % of the p99, or if reported and independent are further apart than 10 % and 15 %.
"""

import argparse
import base64
import contextlib
import json
import os
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAYLOAD_BYTES = 128
CONNECT_S = 4  # spread over so long: the independent client connects in between
CONNECTIONS = 8
PROBES = 4  # fanlab's own, which stand among its clients
SO_TIMESTAMPNS = 35
# Busy machines are measured, too.
LIMITS = ("schedule_lag_p99=10s", "loop_lag_p99=10s", "bias_p99=10s", "cpu=1", "steal=1")
MOST = {"p50": {"share": 0.05, "apart": 0.10}, "p99": {"share": 0.10, "apart": 0.15}}  # of what is reported
FIELDS = ("reported", "bias", "share", "waited", "independent", "apart")
SCENARIO = """
name: bias
question: How much of the reported latency is the generator's own?
topology: {{nodes: {{count: 1}}}}
channels: [news]
clients: [{{group: readers, count: {clients}, spawn_rate: {spawn:g}/s, channels: [news]}}]
publishers: [{{name: ticker, channel: news, rate: {rate:g}/s, payload: {payload}B}}]
evidence: {{probes: {probes}}}
phases: {{warm_up: 2s, measure: {seconds:g}s, drain: {{quiet: 300ms}}}}
"""


def main() -> None:
    """Parent, or the independent client."""
    parser = argparse.ArgumentParser(description="The generator's share of the latency that it reports.")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rate", type=float, default=100.0, help="messages per second, each to every client")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="judge the medians")
    parser.add_argument("--independent", metavar="PORT", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.independent:
        independent(arguments.independent, arguments.out, arguments.clients)
    else:
        medians = compare(arguments)
        if arguments.check and (wrong := amiss(medians)):
            raise SystemExit("\n".join(wrong))


def amiss(medians: dict[str, dict[str, float]]) -> list[str]:
    """What is too much of a bias, or too far apart."""
    return [
        f"{percentile}: {field} is {medians[percentile][field]:+.1%} of what is reported, at most {most:.0%} is good"
        for percentile, limits in MOST.items()
        for field, most in limits.items()
        if not abs(medians[percentile][field]) <= most
    ]


def compare(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """All rounds, and their medians, which are returned, too."""
    rounds, medians = [], {}
    for number in range(1, arguments.rounds + 1):
        rounds.append(measure(arguments))
        print(f"round {number}: {told(rounds[-1])}", flush=True)
    print("\n| | reported ms | bias ms | bias / reported | waited ms | independent ms | reported above it |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for percentile in ("p50", "p99"):
        one = {field: statistics.median(each[percentile][field] for each in rounds) for field in FIELDS}
        medians[percentile] = one
        print(
            f"| {percentile} | {one['reported']:.3f} | {one['bias']:.3f} | {one['share']:.1%} |"
            f" {one['waited']:.3f} | {one['independent']:.3f} | {one['apart']:+.1%} |"
        )
    return medians


def told(figures: dict[str, dict[str, float]]) -> str:
    """One round in a line."""
    return "; ".join(
        f"{percentile} reported {one['reported']:.3f} ms, bias {one['bias']:.3f} ms ({one['share']:.1%}),"
        f" waited {one['waited']:.3f} ms, independent {one['independent']:.3f} ms ({one['apart']:+.1%})"
        for percentile, one in figures.items()
    )


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """One round: a run, with the independent client beside it."""
    with tempfile.TemporaryDirectory(prefix="fanlab-") as folder:
        scenario, run, samples = Path(folder) / "bias.yaml", Path(folder) / "run", Path(folder) / "independent.json"
        shape = {"clients": arguments.clients, "rate": arguments.rate, "seconds": arguments.seconds, "probes": PROBES}
        scenario.write_text(SCENARIO.format(spawn=arguments.clients / CONNECT_S, payload=PAYLOAD_BYTES, **shape))
        argv = [sys.executable, "-m", "fanlab", "run", str(scenario), "--out", str(run), "--no-progress"]
        for limit in LIMITS:
            argv += ["--set", f"limits.{limit}"]
        running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            argv = [sys.executable, __file__, f"--independent={node_port(running)}", f"--out={samples}"]
            with subprocess.Popen([*argv, f"--clients={arguments.clients + PROBES}"]) as beside:
                try:
                    said, _ = running.communicate(timeout=120 + arguments.seconds)
                    beside.wait(30)
                finally:
                    beside.kill()
        finally:
            running.kill()
            running.wait()
        if not (run / "summary.json").exists():
            raise SystemExit(f"the run has failed:\n{said}")
        summary, manifest = (json.loads((run / f"{name}.json").read_text()) for name in ("summary", "manifest"))
        if summary["reasons"]:
            print(f"note: the run is {summary['verdict']}: {'; '.join(summary['reasons'])}", file=sys.stderr)
        heard = json.loads(samples.read_text())
    phases = manifest["phases"]
    measured = [ns for at, ns in heard["samples"] if phases["zero_ns"] <= at < phases["measure_end_ns"]]
    if len(measured) < 0.9 * CONNECTIONS * arguments.rate * arguments.seconds:
        raise SystemExit(f"the independent client has {len(measured)} samples only, {heard['shared']} shared stamps")
    reported, generator = summary["latency_ms"], summary["generator"]
    return {
        percentile: {
            "reported": reported[percentile],
            "bias": generator[bias],
            "share": generator[bias] / reported[percentile],
            "waited": generator[waited],
            "independent": (other := percentile_ms(measured, percent)),
            "apart": (reported[percentile] - other) / reported[percentile],
        }
        for percentile, percent, bias, waited in (
            ("p50", 50, "bias_ms", "wait_ms"),
            ("p99", 99, "bias_p99_ms", "wait_p99_ms"),
        )
    }


def percentile_ms(values_ns: list[int], percent: float) -> float:
    """The value of rank ceil(percent / 100 × n), in ms."""
    rank = -(-len(values_ns) * percent // 100)
    return sorted(values_ns)[int(rank) - 1] / 1e6


def node_port(run: "subprocess.Popen[str]") -> int:
    """The port of the run's node, as soon as it listens."""
    import psutil

    give_up_s = time.monotonic() + 60
    while run.poll() is None and time.monotonic() < give_up_s:
        for process in psutil.Process(run.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "server.py" in process.cmdline():
                    ports = [one.laddr.port for one in process.net_connections("tcp") if one.status == "LISTEN"]
                    if ports:
                        return int(ports[0])
        time.sleep(0.05)
    raise SystemExit(f"the run has no node:\n{run.stdout.read() if run.stdout else ''}")


def independent(port: int, out: Path, others: int) -> None:
    """Subscribe on a few connections among those `others`, and note when the kernel received each message.

    Writes {"samples": [[intended_ns, latency_ns], …], "shared": how many messages had no stamp of their own}.
    """
    connections: list[socket.socket] = []
    heard: dict[int, list[tuple[int, int]]] = {}
    offset_ns, measured_s = real_less_monotonic_ns(), time.monotonic()
    while len(connections) < CONNECTIONS or heard:
        if len(connections) < CONNECTIONS:
            before = (len(connections) + 0.5) * others / CONNECTIONS
            if clients_of(port) - len(connections) >= before:
                connections.append(subscribed(port))
                heard[connections[-1].fileno()] = []
        open_ones = [one for one in connections if one.fileno() >= 0]
        if connections and not open_ones:
            break
        for one in select.select(open_ones, [], [], 0.002 if len(connections) < CONNECTIONS else 0.01)[0]:
            message = read_message(one)
            if message is None:
                one.close()
            elif message[0] is not None and (at := message[1].find(b"fl1")) >= 0:
                heard[one.fileno()].append((int(message[1][at + 19 : at + 35], 16), message[0] - offset_ns))
        if time.monotonic() - measured_s > 1:
            offset_ns, measured_s = real_less_monotonic_ns(), time.monotonic()
    samples, shared = [], 0
    for messages in filter(None, heard.values()):
        for (intended_ns, stamp_ns), later in zip(messages, [*messages[1:], (0, 0)], strict=True):
            if stamp_ns == later[1]:
                shared += 1  # the kernel has joined it with the next one, whose stamp this is
            else:
                samples.append((intended_ns, stamp_ns - intended_ns))
    out.write_text(json.dumps({"samples": samples, "shared": shared}))


def clients_of(port: int) -> int:
    """How many connections there are to that port of this machine."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


def subscribed(port: int) -> socket.socket:
    """A WebSocket, subscribed to `news`, whose messages the kernel stamps."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connection.recv(1)
    command = b'{"type":"subscribe","channels":["news"]}'
    connection.sendall(bytes((0x81, 0x80 | len(command))) + b"\0\0\0\0" + command)  # a mask of zeros is a mask
    return connection


def read_message(connection: socket.socket) -> tuple[int | None, bytes] | None:
    """The stamp (CLOCK_REALTIME, ns) and the payload of one frame; None at the end."""
    head = connection.recv(2, socket.MSG_WAITALL)
    if len(head) < 2 or head[0] & 0x0F == 8:
        return None
    length = head[1]
    if length == 126:
        length = int.from_bytes(connection.recv(2, socket.MSG_WAITALL), "big")
    payload, ancillary, _, _ = connection.recvmsg(length, socket.CMSG_SPACE(16), socket.MSG_WAITALL)
    stamps = [struct.unpack("@ll", data) for _, kind, data in ancillary if kind == SO_TIMESTAMPNS]
    return (stamps[0][0] * 10**9 + stamps[0][1] if stamps else None), payload


def real_less_monotonic_ns() -> int:
    """CLOCK_REALTIME − CLOCK_MONOTONIC, by the closest of some pairs of looks at the latter."""
    looks = []
    for _ in range(50):
        before_ns, real_ns = time.monotonic_ns(), time.clock_gettime_ns(time.CLOCK_REALTIME)
        after_ns = time.monotonic_ns()
        looks.append((after_ns - before_ns, real_ns - (before_ns + after_ns) // 2))
    return min(looks)[1]


if __name__ == "__main__":
    main()
