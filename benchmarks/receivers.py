"""What does receiving cost the generator, and what latency does it report? fanlab's engine against Locust's usual way.

    .venv/bin/python benchmarks/receivers.py --clients 200 --rate 200 --seconds 5 --rounds 3

One sender process (picows on uvloop) sends each message to all clients. The receivers take turns, one at a time:

- engine: `fanlab.load.engine --role clients` as the runs use it, a process without gevent; latency from its stripe.
- locust: a Locust user per client, websockets.sync on gevent, one `request.fire` per message; latency from Locust.

CPU is the receiving process's own, user and system, per delivery. Latency counts from when a message was meant to be
sent. A short line is printed per round, then the median of the rounds as a Markdown table.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from fanlab.clock import NS_PER_S, now_ns

RUN_TAG = 1
CHANNEL = "news"
PAYLOAD_BYTES = 128
CONFIRMATION = b'{"type":"subscribed","channel":"news"}'
FIELDS = ("deliveries", "cpu_us", "p50_ms", "p95_ms", "p99_ms", "max_ms")


def main() -> None:
    """Parent, or one of its processes."""
    parser = argparse.ArgumentParser(description="CPU per delivery and reported latency of two receivers.")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rate", type=float, default=200.0, help="messages per second, each to every client")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--role", choices=("sender", "locust"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "sender":
        import uvloop

        uvloop.run(send(arguments.clients, arguments.rate, arguments.seconds))
    elif arguments.role == "locust":
        receive_with_locust(arguments.clients, arguments.port)
    else:
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Both receivers in turn, `rounds` times."""
    receivers = {"engine": measure_engine, "locust": measure_locust}
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in receivers}
    for number in range(1, arguments.rounds + 1):
        for name, measure in receivers.items():
            with Sender(arguments) as sender:
                figures = measure(arguments, sender)
            expected = arguments.clients * round(arguments.rate * arguments.seconds)
            if figures["deliveries"] != expected:
                print(f"note: {name} counted {figures['deliveries']:.0f} of {expected} deliveries", file=sys.stderr)
            rounds[name].append(figures)
            print(f"round {number} {name}: " + ", ".join(f"{key} {figures[key]:.4g}" for key in FIELDS), flush=True)
    print()
    print("| receiver | CPU µs per delivery | p50 ms | p95 ms | p99 ms | max ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, figures_of in rounds.items():
        medians = [statistics.median(figures[key] for figures in figures_of) for key in FIELDS[1:]]
        print(f"| {name} | " + " | ".join(f"{value:.3g}" for value in medians) + " |")


class Sender:
    """The sender process: a port to connect to, and `run`, which returns when all is sent."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        options = [f"--{name}={getattr(arguments, name)}" for name in ("clients", "rate", "seconds")]
        self._process = child("sender", *options)
        self.port = int(answer(self._process)["port"])

    def run(self) -> None:
        """Send everything."""
        tell(self._process, "go")
        answer(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)


async def send(clients: int, rate: float, seconds: float) -> None:
    """The sender: accepts clients, confirms their subscription, and on `go` sends on a fixed schedule."""
    from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

    from fanlab.ledger.records import TOKEN_LENGTH, Token, encode_token
    from fanlab.load.payload import filler

    subscribed: list[WSTransport] = []

    class Client(WSListener):
        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type == WSMsgType.TEXT:
                transport.send(WSMsgType.TEXT, CONFIRMATION)
                subscribed.append(transport)
            elif frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()

    def accept(_: WSUpgradeRequest) -> WSListener:
        return Client()

    server = await ws_create_server(accept, "127.0.0.1", 0)
    say(port=server.sockets[0].getsockname()[1])
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    if len(subscribed) != clients:
        raise SystemExit(f"{len(subscribed)} of {clients} clients are subscribed")
    rest = filler(PAYLOAD_BYTES - TOKEN_LENGTH)
    start_ns = now_ns() + NS_PER_S // 10
    for k in range(round(rate * seconds)):
        intended_ns = start_ns + round(k * NS_PER_S / rate)
        await until_ns(intended_ns)
        payload = encode_token(Token(RUN_TAG, 0, k + 1, intended_ns, 0)) + rest
        for transport in subscribed:
            transport.send(WSMsgType.TEXT, payload)
    say(done=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def until_ns(due_ns: int) -> None:
    """Never early: uvloop's timers count whole milliseconds, so the last one is waited out."""
    while True:
        early_ns = due_ns - now_ns()
        if early_ns <= 0:
            return
        await asyncio.sleep(max(0, early_ns - NS_PER_S // 1000) / NS_PER_S)


def measure_engine(arguments: argparse.Namespace, sender: Sender) -> dict[str, float]:
    """fanlab's own clients engine."""
    import numpy as np
    import psutil

    from fanlab.ledger.records import DELIVERY_DTYPE
    from fanlab.ledger.stripe import Kind, StripeReader
    from fanlab.load.config import Backoff, ClientsConfig, LoadConfig, NodeTarget, PublishersConfig
    from fanlab.load.wire import LineReader, encode
    from fanlab.scenario.model import ConstantRate

    with tempfile.TemporaryDirectory(prefix="fanlab-") as folder:
        group = ClientsConfig(
            name="readers",
            count=arguments.clients,
            first_client=0,
            spawn_rate_per_s=1000.0,
            channels=(CHANNEL,),
            nodes=(0,),
            failover="sticky",
            backoff=Backoff(NS_PER_S, 1.0, NS_PER_S, 0.0),
            ping_interval_ns=20 * NS_PER_S,
            ping_timeout_ns=20 * NS_PER_S,
            join_ns=None,
        )
        config = LoadConfig(
            seed=1,
            run_tag=RUN_TAG,
            redis_url="",
            journal=folder,
            stats="",
            nodes=(NodeTarget(f"ws://127.0.0.1:{sender.port}/", "json"),),
            channels=(CHANNEL,),
            clients=(group,),
            publishers=(PublishersConfig("p", 1, 0, CHANNEL, ConstantRate(rate="1/s"), PAYLOAD_BYTES, NS_PER_S),),
        )
        path = Path(folder) / "load.json"
        config.write(path)
        ours, theirs = socket.socketpair()
        ours.settimeout(60)
        argv = [sys.executable, "-m", "fanlab.load.engine", "--role=clients", f"--config={path}", "--worker=1"]
        process = subprocess.Popen([*argv, f"--fd={theirs.fileno()}"], pass_fds=[theirs.fileno()])
        theirs.close()
        lines = LineReader()

        def until(key: str, value: Any) -> None:
            while not any(message.get(key) == value for message in lines.feed(ours.recv(65536))):
                pass

        for client in range(arguments.clients):
            ours.sendall(encode({"op": "connect", "client": client}))
        until("connected", arguments.clients)
        before = sum(psutil.Process(process.pid).cpu_times()[:2])
        sender.run()
        until("deliveries", arguments.clients * round(arguments.rate * arguments.seconds))
        used_s = sum(psutil.Process(process.pid).cpu_times()[:2]) - before
        ours.sendall(encode({"op": "finish"}))
        until("ev", "ended")
        process.wait(60)
        frames = StripeReader(Path(folder) / "clients-1.stripe")
        records = np.concatenate(
            [np.frombuffer(f.payload, DELIVERY_DTYPE) for f in frames if f.kind is Kind.DELIVERIES]
        )
    latencies_ms = (records["recv_ns"].astype(np.int64) - records["intended_ns"].astype(np.int64)) / 1e6
    p50, p95, p99 = (float(value) for value in np.percentile(latencies_ms, (50, 95, 99)))
    return {
        "deliveries": len(records),
        "cpu_us": used_s * 1e6 / len(records),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "max_ms": float(latencies_ms.max()),
    }


def measure_locust(arguments: argparse.Namespace, sender: Sender) -> dict[str, float]:
    """Locust's usual way, in a process of its own."""
    process = child("locust", f"--clients={arguments.clients}", f"--port={sender.port}")
    answer(process)  # all are subscribed
    tell(process, "go")
    answer(process)
    sender.run()
    tell(process, str(arguments.clients * round(arguments.rate * arguments.seconds)))
    figures = answer(process)
    end(process)
    return {key: float(value) for key, value in figures.items()}


def receive_with_locust(clients: int, port: int) -> None:
    """One Locust process with a user per client."""
    import gevent
    from gevent.fileobject import FileObjectThread
    from locust import User, task
    from locust.env import Environment
    from websockets.sync.client import connect

    from fanlab.ledger.records import TOKEN_PREFIX, decode_token

    connected = 0
    open_connections = ExitStack()

    class Reader(User):
        def on_start(self) -> None:
            nonlocal connected
            self.connection = open_connections.enter_context(connect(f"ws://127.0.0.1:{port}/", compression=None))
            self.connection.send('{"type":"subscribe","channels":["news"]}')
            self.connection.recv()
            connected += 1

        @task
        def receive(self) -> None:
            text = self.connection.recv(decode=False)
            received_ns = now_ns()
            token = decode_token(text[text.find(TOKEN_PREFIX) :])
            if token is not None:
                self.environment.events.request.fire(
                    request_type="WS",
                    name="deliver",
                    response_time=(received_ns - token.intended_ns) / 1e6,
                    response_length=len(text),
                    exception=None,
                )

    environment = Environment(user_classes=[Reader])
    runner = environment.create_local_runner()
    runner.start(clients, spawn_rate=clients)
    while connected < clients:
        gevent.sleep(0.05)
    say(ready=True)
    orders = FileObjectThread(sys.stdin.buffer)
    orders.readline()
    before_s = time.process_time()
    say(started=True)
    expected = int(orders.readline())
    entry = environment.stats.get("deliver", "WS")
    give_up_ns = now_ns() + 30 * NS_PER_S  # it may have fallen behind; its count will tell if it never comes
    while entry.num_requests < expected and now_ns() < give_up_ns:
        gevent.sleep(0.05)
    used_s = time.process_time() - before_s
    p50, p95, p99 = (entry.get_response_time_percentile(share) for share in (0.5, 0.95, 0.99))
    say(
        deliveries=entry.num_requests,
        cpu_us=used_s * 1e6 / max(1, entry.num_requests),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=entry.max_response_time,
    )
    orders.readline()
    os._exit(0)  # 200 connections need no goodbye


def child(role: str, *options: str) -> "subprocess.Popen[str]":
    """A process of this very file, which speaks JSON lines."""
    argv = [sys.executable, __file__, f"--role={role}", *options]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def say(**fields: Any) -> None:
    """From a child to the parent."""
    print(json.dumps(fields), flush=True)


def tell(process: "subprocess.Popen[str]", order: str) -> None:
    """From the parent to a child."""
    if process.stdin is None:
        raise RuntimeError("the child has no input")
    process.stdin.write(f"{order}\n")
    process.stdin.flush()


def answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """A child's next line."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise SystemExit(f"a child process has ended early, with {process.wait()}")
    result: dict[str, Any] = json.loads(line)
    return result


def end(process: "subprocess.Popen[str]") -> None:
    """Let a child go, by force if need be."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
