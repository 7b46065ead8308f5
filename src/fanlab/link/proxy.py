"""One proxy: a port of its own, an upstream, the connections between them, and the toxics that hold there."""

import asyncio
import dataclasses
import socket
from collections import Counter
from random import Random
from typing import Any, Final

from fanlab.clock import now_ns
from fanlab.link.connection import Connection, State, end_by_reset
from fanlab.link.journal import Journal
from fanlab.link.listener import SOCKET_BUFFER_BYTES, Listener, address, parse_address
from fanlab.link.state import DirectionBytes, ProxyState, ToxicState
from fanlab.link.toxics.down import Down
from fanlab.link.toxics.toxic import Toxic
from fanlab.seed import rng

_SWEEP_S: Final = 1.0


class Proxy:
    """Every connection has a number, from 1; which of them a toxic hits depends on the seed and on that only."""

    def __init__(
        self, name: str, upstream: str, *, loop: asyncio.AbstractEventLoop, host: str, seed: int, journal: Journal
    ) -> None:
        """Listens from now on. Raises ValueError for an upstream that is none, OSError if no port can be had."""
        self.name = name
        self._upstream = parse_address(upstream)
        self._loop = loop
        self._seed = seed
        self._journal = journal
        self._toxics: dict[str, Toxic] = {}
        self._connections: dict[int, Connection] = {}
        self._numbers = 0
        self._resets = 0
        self._opened = 0
        self._closed: Counter[str] = Counter()
        self._passed = [0, 0]  # of connections that are no more; up, down
        self._discarded = [0, 0]
        self._touched: Counter[str] = Counter()  # by toxic
        self._connecting: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._listener = Listener(loop, host, self._accepted)

    @property
    def listen(self) -> str:
        """Where it listens: `host:port`, for good."""
        return self._listener.address

    def add(self, toxic: Toxic) -> int:
        """From now on it holds; returns how many of the connections there are it hits. ValueError: a taken name."""
        if toxic.name in self._toxics:
            raise ValueError(f"the proxy {self.name} has a toxic {toxic.name} already")
        self._toxics[toxic.name] = toxic
        self._tell(toxic, "on")
        if isinstance(toxic.effect, Down):
            self._listener.close()
        hit = [connection for connection in self._all() if self._is_hit(connection, toxic)]
        count = sum(connection.apply(toxic, self._random(connection, toxic)) for connection in hit)
        self._journal.flush()
        return count

    def remove(self, name: str) -> None:
        """From now on it holds no more. Raises ValueError if there is none of this name, OSError: cannot listen."""
        if name not in self._toxics:
            raise ValueError(f"the proxy {self.name} has no toxic {name}")
        toxic = self._toxics.pop(name)
        self._touched.pop(name, None)
        self._tell(toxic, "off")
        for connection in self._all():
            connection.lift(name)
            self._connect_if_free(connection)
        if isinstance(toxic.effect, Down) and not self._is_down:
            self._listener.open()
        self._journal.flush()

    def reset(self, share: float) -> tuple[int, int]:
        """Reset this share of the connections, one at least; returns how many, and of how many."""
        there = self._all()
        count = min(len(there), max(1, round(share * len(there)))) if share > 0 else 0
        self._resets += 1
        for connection in rng(self._seed, "reset", self.name, self._resets).sample(there, count):
            connection.abort("reset")
        self._journal.flush()
        return count, len(there)

    def state(self) -> ProxyState:
        """As of now."""
        there = self._all()
        opened = sum(connection.state is State.OPEN for connection in there)
        return ProxyState(
            listen=self.listen,
            upstream=address(self._upstream),
            listening=self._listener.listening,
            open=opened,
            waiting=len(there) - opened,
            opened=self._opened,
            closed=dict(self._closed),
            up=self._bytes(0),
            down=self._bytes(1),
            toxics=tuple(
                ToxicState(
                    name=toxic.name,
                    type=toxic.type,
                    stream=toxic.stream,
                    toxicity=toxic.toxicity,
                    attributes=dataclasses.asdict(toxic.effect),
                    hit=sum(toxic.name in connection.hits for connection in there),
                    touched=self._touched[toxic.name]
                    + sum(connection.touched.get(toxic.name, 0) for connection in there),
                )
                for toxic in self._toxics.values()
            ),
        )

    async def close(self) -> None:
        """End all connections, and let the port go."""
        self._listener.give_up()
        for connection in self._all():
            connection.finish("link-ended")
        if self._sweeper is not None:
            self._sweeper.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)

    @property
    def _is_down(self) -> bool:
        return any(isinstance(toxic.effect, Down) for toxic in self._toxics.values())

    def _all(self) -> list[Connection]:
        return list(self._connections.values())

    def _is_hit(self, connection: Connection, toxic: Toxic) -> bool:
        if toxic.toxicity >= 1:
            return True
        return rng(self._seed, "toxicity", self.name, toxic.name, connection.number).random() < toxic.toxicity

    def _random(self, connection: Connection, toxic: Toxic) -> Random:
        return rng(self._seed, "toxic", self.name, toxic.name, connection.number)

    def _bytes(self, way: int) -> DirectionBytes:
        there = self._all()
        return DirectionBytes(
            passed=self._passed[way] + sum(connection.passed[way] for connection in there),
            held=sum(connection.held[way] for connection in there),
            discarded=self._discarded[way] + sum(connection.discarded[way] for connection in there),
        )

    def _accepted(self, sock: socket.socket, peer: str) -> None:
        self._numbers += 1
        connection = Connection(self._numbers, self._loop, sock, peer, self._on_close)
        self._connections[connection.number] = connection
        for toxic in self._toxics.values():
            if self._is_hit(connection, toxic):
                connection.apply(toxic, self._random(connection, toxic))
        self._connect_if_free(connection)
        if connection.state is State.WAITING and self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def _connect_if_free(self, connection: Connection) -> None:
        """Connect upstream, unless it has to wait. Nobody's SYN is sent again for who has gone meanwhile."""
        if connection.state is not State.WAITING or connection.blocked:
            return
        if connection.given_up():
            connection.finish("given-up")
            return
        connection.state = State.CONNECTING
        task = connection.connecting = self._loop.create_task(self._connect(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: Connection) -> None:
        try:
            up = await self._dial()
        except OSError as error:
            connection.connecting = None
            connection.abort(_why(error))
            return
        connection.connecting = None
        self._opened += 1
        row = {"ev": "open", "proxy": self.name, "id": connection.number}
        self._journal.write({"t": now_ns(), **row, "down": connection.address, "up": address(up.getsockname())})
        connection.open(up)

    async def _dial(self) -> socket.socket:
        """A socket connected upstream. Raises OSError, that of the last address tried."""
        refused = OSError("no address")
        for family, kind, proto, _, where in await self._loop.getaddrinfo(*self._upstream, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, proto)
            try:
                sock.setblocking(False)  # noqa: FBT003 - socket's own
                for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                    sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await self._loop.sock_connect(sock, where)
            except OSError as error:
                sock.close()
                refused = error
            except BaseException:
                end_by_reset(sock)  # it may be connected by now, though we have not seen it
                sock.close()
                raise
            else:
                return sock
        raise refused

    def _on_close(self, connection: Connection) -> None:
        del self._connections[connection.number]
        self._closed[connection.why] += 1
        self._touched.update({name: n for name, n in connection.touched.items() if name in self._toxics})
        for way in (0, 1):
            self._passed[way] += connection.passed[way]
            self._discarded[way] += connection.discarded[way]
        row: dict[str, Any] = {"proxy": self.name, "id": connection.number}
        if connection.was_open:
            told = {"why": connection.why, "passed": connection.passed, "discarded": connection.discarded}
            self._journal.write({"t": now_ns(), "ev": "close", **row, **told})
        else:
            told = {"down": connection.address, "why": connection.why}
            self._journal.write({"t": now_ns(), "ev": "unopened", **row, **told})

    def _sweep(self) -> None:
        """Those who give up while they wait are let go, or their descriptors would pile up."""
        self._sweeper = None
        for connection in self._all():
            if connection.state is State.WAITING and connection.given_up():
                connection.finish("given-up")
        if any(connection.state is State.WAITING for connection in self._all()):
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def _tell(self, toxic: Toxic, state: str) -> None:
        row = {"proxy": self.name, "name": toxic.name, "type": toxic.type, "state": state}
        self._journal.write({"t": now_ns(), "ev": "toxic", **row})


def _why(error: OSError) -> str:
    """Why upstream could not be connected, as the journal tells it."""
    if isinstance(error, ConnectionRefusedError):
        return "up-refused"
    return "up-reset" if isinstance(error, ConnectionResetError) else "up-unreachable"
