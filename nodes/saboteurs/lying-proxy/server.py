"""The reference node behind a proxy that lies: it loses, duplicates, reorders or corrupts exactly LIE_COUNT messages.

Everything passes byte for byte, except the data frames from the node to its clients (or, with LIE_SIDE=redis, the
messages from Redis to the node); lies.py says which of them. README.md, one folder up, has the settings. What it did
it tells at once, in `<journal without .jsonl>.truth.jsonl` or the file that LIE_TRUTH names: one JSON object a line,

    {"t": <monotonic ns>, "deed": "lose", "client": <Fanlab-Client or null>, "conn": <from 0>, "mark": "fl1…"}

LIE=delay holds every frame back by LIE_DELAY_MS, in order. LIE=stall stops reading from the node, for the first client
only, LIE_STALL_AT seconds after that came, for LIE_STALL_FOR seconds. Both tell one line for each connection. At the
end, a delay tells one more, of the deed `held`, with `p5_ms`, `p50_ms` and `count`: how long frames were held back by
the proxy's own clock, for a busy machine wakes it later than it asked for.
"""

import ctypes
import gc
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lies import Choice, Liar, OrderError, Orders, orders_of
from relay import Loop, Pipe
from units import Frames, Replies

GOOD_NODE = Path(__file__).resolve().parents[2] / "websockets"
HOST = "127.0.0.1"
PR_SET_PDEATHSIG, PR_SET_TIMERSLACK = 1, 29  # linux/prctl.h
HEAD_BYTES = 1 << 15
SMALL_BUFFER_BYTES = 1 << 14  # between node and proxy when it stalls, so that the node soon feels it
LAST_WORDS_NS = 1_000_000_000  # for what the node had sent when it ended
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Truth:
    """What was done, a line for each deed, written at once."""

    def __init__(self, path: Path | None) -> None:
        self._fd = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def tell(self, deed: str, client: str | None, connection: int, mark: bytes | None, **more: float) -> None:
        """Append a line."""
        line = {
            "t": time.monotonic_ns(),
            "deed": deed,
            "client": int(client) if client is not None and client.isdecimal() else client,
            "conn": connection,
            "mark": None if mark is None else mark.decode(),
            **more,
        }
        if self._fd is not None:
            os.write(self._fd, json.dumps(line).encode() + b"\n")


class Proxy:
    """Accepts, connects on, and lies."""

    def __init__(
        self, loop: Loop, orders: Orders, listener: socket.socket, target: tuple[str, int], truth: Truth
    ) -> None:
        self._loop = loop
        self._orders = orders
        self._listener = listener
        self._target = target
        self._truth = truth
        self._choice = Choice(orders)
        self._connections = 0  # that say who they are
        self._delays: list[tuple[str | None, int, Pipe]] = []  # client, ordinal, pipe
        loop.listen(listener, self._accept)

    def close(self) -> None:
        """Take no more connections. Safe to call twice."""
        if self._listener.fileno() >= 0:
            self._loop.forget(self._listener)
            self._listener.close()

    def tell_held(self) -> None:
        """Tell of each delay how long it was."""
        for client, ordinal, pipe in self._delays:
            if len(pipe.held_ns) > 1:
                cuts_ns = statistics.quantiles(pipe.held_ns, n=20)
                p5_ms, p50_ms = cuts_ns[0] / 1e6, cuts_ns[9] / 1e6
                self._truth.tell("held", client, ordinal, None, p5_ms=p5_ms, p50_ms=p50_ms, count=len(pipe.held_ns))

    def _accept(self) -> None:
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        far = socket.socket()
        for sock in (near, far):
            sock.settimeout(0)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._orders.mode == "stall":
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        far.connect_ex(self._target)
        up, down = Pipe(near, far), Pipe(far, near)
        if self._orders.side == "redis":
            self._begin(down, None, 0, Replies())
        else:
            Handshake(self, up, down)
        self._loop.connect(up, down)

    def introduced(self, down: Pipe, client: str) -> None:
        """A WebSocket of a client that says who it is, is open."""
        self._begin(down, client, self._connections, Frames())
        self._connections += 1

    def _begin(self, down: Pipe, client: str | None, ordinal: int, cutter: Frames | Replies) -> None:
        orders = self._orders
        down.transform = down.at_end = None
        if orders.mode == "delay":
            down.delay_ns = orders.delay_ns
            self._delays.append((client, ordinal, down))
            self._truth.tell("delay", client, ordinal, None, ms=orders.delay_ns / 1e6)
        elif orders.mode == "stall" and ordinal == 0:
            begin_ns = time.monotonic_ns() + round(orders.stall_at_s * 1e9)

            def begin() -> None:
                self._truth.tell("stall", client, ordinal, None, s=orders.stall_for_s)
                self._loop.stall(down, stalled=True)

            self._loop.at(begin_ns, begin)
            self._loop.at(begin_ns + round(orders.stall_for_s * 1e9), lambda: self._loop.stall(down, stalled=False))
        elif orders.choosy:
            liar = Liar(self._choice, ordinal, lambda deed, conn, mark: self._truth.tell(deed, client, conn, mark))

            def transform(data: bytes) -> bytes:
                out = b"".join([liar.passes(unit) for unit in cutter.feed(data)])
                if liar.done:
                    down.transform = down.at_end = None
                    out += cutter.rest
                return out

            down.transform, down.at_end = transform, lambda: liar.let_go() + cutter.rest


class Handshake:
    """Watches a connection's heads go by, for who it is and whether it becomes a WebSocket."""

    def __init__(self, proxy: Proxy, up: Pipe, down: Pipe) -> None:
        self._proxy, self._up, self._down = proxy, up, down
        self._request = self._response = b""
        up.transform, down.transform = self._asked, self._answered

    def _asked(self, data: bytes) -> bytes:
        self._request += data
        if b"\r\n\r\n" in self._request or len(self._request) > HEAD_BYTES:
            self._up.transform = None
        return data

    def _answered(self, data: bytes) -> bytes:
        self._response += data
        head, end, rest = self._response.partition(b"\r\n\r\n")
        if not end:
            return data
        self._down.transform = None
        client = _header(self._request, b"fanlab-client")
        if not head.startswith(b"HTTP/1.1 101") or client is None:
            return data
        self._proxy.introduced(self._down, client)
        if self._down.transform is None or not rest:
            return data
        return data[: len(data) - len(rest)] + self._down.transform(rest)


def _header(head: bytes, name: bytes) -> str | None:
    for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().decode("latin-1")
    return None


def _reserve() -> socket.socket:
    """A port that nobody is given by chance, and on which the node can listen all the same (SO_REUSEADDR)."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((HOST, 0))
    if sys.platform != "linux":
        port = holder.getsockname()
        holder.close()
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(port)
    return holder


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.create_server((host, port), backlog=1024)
    listener.settimeout(0)
    return listener


def _die_with_parent() -> None:
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _start_node(environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "server.py"],
        cwd=GOOD_NODE,
        env=dict(environ),
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - there is one thread
    )


def main() -> int:
    """Run until the node ends. Exit codes: the node's; 2 for a bad order or an order that cannot be carried out."""
    environ, host, port = (
        dict(os.environ),
        os.environ.get("FANLAB_HOST", HOST),
        int(os.environ.get("FANLAB_PORT", "8765")),
    )
    try:
        orders = orders_of(environ, environ.get("FANLAB_NODE_ID", "node"))
    except (OrderError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    journal = environ.get("FANLAB_JOURNAL", "")
    told = environ.get("LIE_TRUTH") or (f"{journal.removesuffix('.jsonl')}.truth.jsonl" if journal else "")
    truth = Truth(Path(told) if told else None)
    if LIBC is not None:
        LIBC.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    loop = Loop()
    if orders.side == "redis":
        redis = urlsplit(environ["FANLAB_REDIS_URL"])
        listener = _listen(HOST, 0)
        login, at, _ = redis.netloc.rpartition("@")
        netloc = f"{login}{at}{HOST}:{listener.getsockname()[1]}"
        environ["FANLAB_REDIS_URL"] = urlunsplit(redis._replace(netloc=netloc))
        proxy = Proxy(loop, orders, listener, (str(redis.hostname), redis.port or 6379), truth)
    else:
        holder = _reserve()
        environ |= {"FANLAB_HOST": HOST, "FANLAB_PORT": str(holder.getsockname()[1])}
        proxy = Proxy(loop, orders, _listen(host, port), (HOST, holder.getsockname()[1]), truth)
    node = _start_node(environ)
    _handle_signals(loop, proxy, node)
    gc.disable()  # nothing here makes cycles, and a pause would delay frames
    try:
        loop.run()
    except OrderError as error:
        print(error, file=sys.stderr, flush=True)
        node.kill()
        node.wait()
        return 2
    proxy.tell_held()
    return node.returncode if node.returncode >= 0 else 128 - node.returncode


def _handle_signals(loop: Loop, proxy: Proxy, node: subprocess.Popen[bytes]) -> None:
    """SIGTERM and SIGINT go on to the node; its end is ours, once all that it had sent is sent on."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.settimeout(0)
    signal.set_wakeup_fd(theirs.detach(), warn_on_full_buffer=False)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(signum, lambda *_: None)

    def stop() -> None:
        loop.running = False

    def wait_for_rest(deadline_ns: int) -> None:
        if not loop.busy or time.monotonic_ns() >= deadline_ns:
            stop()
        else:
            loop.at(time.monotonic_ns() + 5_000_000, lambda: wait_for_rest(deadline_ns))

    def signalled() -> None:
        for signum in ours.recv(64):
            if signum != signal.SIGCHLD:
                proxy.close()
                node.send_signal(signum)
            elif node.poll() is not None:
                proxy.close()
                wait_for_rest(time.monotonic_ns() + LAST_WORDS_NS)

    loop.listen(ours, signalled)


if __name__ == "__main__":
    sys.exit(main())
