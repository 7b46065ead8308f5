"""Watching Redis during a run: who subscribes to it, since when and until when, and whom it cut off.

It polls CLIENT LIST TYPE pubsub every 50 ms and follows Redis' log, and writes what changed to `journal/redis.jsonl`:
the rows of `fanlab.subscribers`, and

    {"t", "ev": "watch", "state": "up", "log"}         polling works, from t on; `log`: is its log followed, too?
    {"t", "before", "ev": "watch", "state": "down"}    it has failed, or is over; `before` is when it last worked

A connection is a node's if it bears the node's id as its name (CLIENT SETNAME), else if its address is the node's own,
or that of a socket of the node's process: so black boxes are found, too.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self

import psutil
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fanlab import clock
from fanlab.subscribers import Listed, Row, Subscribers, on_our_clock, parse_killed, parse_listed

EVERY_S: Final = 0.05
_ANSWER_WITHIN_S: Final = 0.4
_LOG_BYTES: Final = 1 << 20  # read at most, per look


class RedisWatch:
    """Watches from entry to exit. Redis' failures leave gaps, which the journal tells, and stop nothing."""

    def __init__(
        self,
        path: Path,
        *,
        redis_url: str,
        log: Path | None,
        pids: Callable[[], Mapping[str, int | None]],
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        """`log` is that of a Redis of ours; `pids` tells the nodes' ids and main processes at this moment.

        `addresses` has the nodes' ids by IP address, where each has one of its own; then `pids` is not asked.
        """
        self._path = path
        self._log = None if log is None else LogTail(log)
        self._pids = pids
        self._addresses = addresses or {}
        self._subscribers = Subscribers(frozenset(pids()))
        # A connection alone: redis-py's client does much more for each question, and there are 20 a second.
        pool: Any = ConnectionPool.from_url(
            redis_url,
            decode_responses=True,
            encoding_errors="replace",
            socket_timeout=None,  # `_asked` has one for all of it
            socket_connect_timeout=_ANSWER_WITHIN_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._connection = pool.make_connection()
        self._question = self._connection.pack_command("CLIENT", "LIST", "TYPE", "pubsub")
        self._good_ns = 0  # when the last poll that worked was sent; 0: none has
        self._up = False
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="redis watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        # Asked, not cancelled: so the last question is answered, and what it tells is written.
        self._stopping = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._connection.disconnect()

    async def _run(self) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            due_ns = clock.now_ns()
            while not self._stopping:
                rows = [*await self._poll(), *self._log_rows()]
                _write(file, rows)
                due_ns = max(due_ns + round(EVERY_S * clock.NS_PER_S), clock.now_ns())
                await asyncio.sleep((due_ns - clock.now_ns()) / clock.NS_PER_S)
            _write(file, [*self._log_rows(), *self._down(clock.now_ns())])

    async def _poll(self) -> list[Row]:
        sent_ns = clock.now_ns()
        try:
            listed = [parse_listed(line) for line in (await self._asked()).splitlines()]
        except (RedisError, OSError, TimeoutError, KeyError, ValueError):
            return self._down(clock.now_ns())
        t_ns = clock.now_ns()
        rows: list[Row] = [] if self._up else [self._began(t_ns)]
        unknown = self._subscribers.unknown(listed)
        owners = await self._owners_of(unknown) if unknown else {}
        rows += self._subscribers.seen(t_ns, self._good_ns, listed, owners)
        self._up, self._good_ns = True, sent_ns
        return rows

    async def _asked(self) -> str:
        """CLIENT LIST TYPE pubsub: a line for each. Raises what redis-py does, after which it connects anew."""
        async with asyncio.timeout(_ANSWER_WITHIN_S):  # redis-py closes a connection that is left within a question
            await self._connection.send_packed_command(self._question, check_health=False)
            return str(await self._connection.read_response())

    async def _owners_of(self, unknown: Iterable[Listed]) -> dict[int, str]:
        if self._addresses:
            return owners_by_address(unknown, self._addresses)
        return await asyncio.to_thread(owners_of, unknown, self._pids())

    def _began(self, t_ns: int) -> Row:
        return {"t": t_ns, "ev": "watch", "state": "up", "log": self._log is not None}

    def _down(self, t_ns: int) -> list[Row]:
        was_up, self._up = self._up, False
        return [{"t": t_ns, "before": self._good_ns, "ev": "watch", "state": "down"}] if was_up else []

    def _log_rows(self) -> list[Row]:
        if self._log is None:
            return []
        after_ns = self._log.looked_ns
        killed = [found for line in self._log.lines() if (found := parse_killed(line))]
        if not killed:
            return []
        offset_ns = clock.wall_offset_ns()
        now_ns = self._log.looked_ns
        return [self._subscribers.killed(on_our_clock(one.wall_ns, offset_ns, after_ns, now_ns), one) for one in killed]


class LogTail:
    """The whole lines that were appended to a file since the last look; what stood there before is not told."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0
        self._rest = b""
        self.looked_ns = clock.now_ns()

    def lines(self) -> list[str]:
        """Those of now. A file that is not there, or cannot be read, has none."""
        data = b""
        with contextlib.suppress(OSError):
            if self._path.stat().st_size > self._at:
                with self._path.open("rb") as file:
                    file.seek(self._at)
                    data = file.read(_LOG_BYTES)
        self.looked_ns = clock.now_ns()
        self._at += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]


def owners_of(listed: Iterable[Listed], pids: Mapping[str, int | None]) -> dict[int, str]:
    """By id of a client of Redis: the node whose process, or a child of it, holds the other end of the connection.

    Nodes that are gone, or whose sockets may not be looked at, own nothing.
    """
    by_port = {port: each.id for each in listed if (port := _port(each.addr)) is not None}
    owners: dict[int, str] = {}
    for node, pid in pids.items():
        if pid is None:
            continue
        for port in _local_ports(pid) & by_port.keys():
            owners[by_port[port]] = node
    return owners


def owners_by_address(listed: Iterable[Listed], addresses: Mapping[str, str]) -> dict[int, str]:
    """By id of a client of Redis: the node whose address it comes from. Pure."""
    found = {each.id: addresses.get(each.addr.rpartition(":")[0].strip("[]")) for each in listed}
    return {number: node for number, node in found.items() if node is not None}


def _local_ports(pid: int) -> set[int]:
    ports: set[int] = set()
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return ports
    for member in family:
        with contextlib.suppress(psutil.Error, OSError):
            ports |= {each.laddr.port for each in member.net_connections("tcp") if each.laddr and each.raddr}
    return ports


def _port(addr: str) -> int | None:
    """Of `127.0.0.1:50599`, or `[::1]:50599`; None of a Unix socket's."""
    text = addr.rpartition(":")[2]
    return int(text) if text.isdigit() else None


def _write(file: Any, rows: Iterable[Row]) -> None:
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    if text:
        file.write(text)
        file.flush()
