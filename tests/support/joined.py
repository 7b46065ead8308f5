"""Two network namespaces joined by a wire, with a server in one: packets to break, without an engine and as root."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from fanlab.faults.fault import Means, Target
from fanlab.topology.backend import REDIS, NodeEndpoint
from fanlab.topology.netns import Namespace, throwaway

NODE: Final = "10.9.0.3"
PEER: Final = "10.9.0.2"  # where Redis is, and clients are
PORT: Final = 7000
# A server that says back what it hears, and counts it; its clients are told apart by nobody.
_ECHO: Final = """
import socket, sys, threading
listening = socket.create_server((sys.argv[1], int(sys.argv[2])))
def serve(one):
    while data := one.recv(1000):
        one.sendall(data)
print("listening", flush=True)
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""
# A client: a line on stdin is sent and read back, and then told on stdout.
_TALK: Final = """
import socket, sys
one = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print("connected", flush=True)
for line in sys.stdin:
    one.sendall(line.encode())
    heard = b""
    while not heard.endswith(b"\\n"):
        heard += one.recv(1000)
    print(heard.decode(), end="", flush=True)
"""


@dataclass(slots=True)
class Joined:
    """The node's namespace and its peer's, and the wire between them; as much of a backend as the faults ask for."""

    node: Namespace
    peer: Namespace

    def host_of(self, unit: str) -> str:
        """Where it is."""
        return PEER if unit == REDIS else NODE

    def pid(self, unit: str) -> int | None:
        """A process that lives there."""
        return self.peer.pid if unit == REDIS else self.node.pid

    def helpers(self) -> dict[str, int]:
        """The clients' side."""
        return {"load-1": self.peer.pid}

    async def probe(self, unit: str) -> bool:
        """Both always serve."""
        return unit == "node-1"

    def target(self, **settings: Any) -> Target:
        """For a fault of node-1."""
        endpoint = NodeEndpoint("node-1", 0, f"ws://{NODE}:{PORT}/", f"http://{NODE}:{PORT}", "json", journals=False)
        all_settings = {"direction": "both", "share": 1.0, "by": "packets", "jitter_ns": 0, **settings}
        backend: Any = self
        return Target(Means(backend, "redis://r", nodes={"node-1": endpoint}), "node-1", 7, 1, all_settings)

    @contextmanager
    def talking(self, link: str) -> Iterator["Talk"]:
        """A connection over the wire that is open: of the node to Redis, or of a client to the node."""
        near, far, address = (self.node, self.peer, PEER) if link == REDIS else (self.peer, self.node, NODE)
        with _inside(far, _ECHO, address) as server, _inside(near, _TALK, address) as client:
            try:
                yield Talk(client)
            finally:
                server.kill()
                client.kill()


@dataclass(slots=True)
class Talk:
    """One connection."""

    client: "subprocess.Popen[str]"

    def send(self, line: str) -> None:
        """Say a line, whenever it may come through."""
        assert self.client.stdin is not None
        self.client.stdin.write(f"{line}\n")
        self.client.stdin.flush()

    async def heard(self) -> str:
        """The next line that has come back."""
        assert self.client.stdout is not None
        return (await asyncio.wait_for(asyncio.to_thread(self.client.stdout.readline), 30)).strip()


@contextmanager
def joined() -> Iterator[Joined]:
    """Made and joined; gone after the block."""
    with throwaway() as node, throwaway() as peer:
        node.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(peer.pid)])
        for space, address in ((node, NODE), (peer, PEER)):
            space.run(["ip", "addr", "add", f"{address}/24", "dev", "eth0"])
            space.run(["ip", "link", "set", "eth0", "up"])
            space.run(["ip", "link", "set", "lo", "up"])
        node.run(["ip", "route", "add", "default", "via", "10.9.0.1"])
        yield Joined(node, peer)


def leftovers(space: Namespace) -> list[str]:
    """Rules and queues that are in it, besides those that are always."""
    rules = [line for line in space.run(["iptables", "-S"]).splitlines() if not line.startswith("-P ")]
    queues = [each["kind"] for each in json.loads(space.run(["tc", "-j", "qdisc", "show"]))]
    links = [line.split(":")[1].strip() for line in space.run(["ip", "-o", "link"]).splitlines()]
    return [*rules, *(set(queues) - {"noqueue", "pfifo_fast", "fq_codel"}), *(set(links) - {"lo", "eth0@if2"})]


@contextmanager
def _inside(space: Namespace, script: str, address: str) -> Iterator["subprocess.Popen[str]"]:
    pipe = subprocess.PIPE
    argv = ["nsenter", f"--net=/proc/{space.pid}/ns/net", "--", sys.executable, "-c", script, address, str(PORT)]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() in ("listening\n", "connected\n")
        try:
            yield process
        finally:
            process.kill()
