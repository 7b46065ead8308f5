"""One epoll for all of a loop's stamped sockets, which is all that libuv sees of them.

With a poll handle per socket, each read costs a callback of libuv's, a handle and a context of asyncio's, and a
question whether the socket has an error: libuv stops polling at one, and tells nobody. An epoll tells of it for as long
as it stands.
"""

import asyncio
import select
from collections.abc import Callable
from typing import Final, TypeVar

from fanlab.load.bulk import Bulk, Left

READ: Final = getattr(select, "EPOLLIN", 0x1)  # where there is no epoll, nobody is stamped, and nothing is polled
WRITE: Final = getattr(select, "EPOLLOUT", 0x4)
_AT_ONCE: Final = 1024  # events of one question, as libuv asks
T = TypeVar("T")

Ready = Callable[[int], None]  # is given the events, of READ, WRITE, EPOLLERR and EPOLLHUP
Took = Callable[[Left], None]  # is given a read that was done


class Poller:
    """Calls whom a ready socket belongs to, once each time that the loop comes round.

    With `bulk`, what it takes by itself nobody is called for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, bulk: Bulk | None = None) -> None:
        self._loop = loop
        self._bulk = bulk
        self._took: dict[int, Took] = {}
        self._ready: dict[int, Ready] = {}
        self._epoll: select.epoll | None = None  # made when first needed: most loops never connect

    def add(self, fd: int, ready: Ready, took: Took | None = None, events: int = READ) -> None:
        """Call `ready` for these events and at the socket's end, `took` for what was read. Raises OSError."""
        if self._epoll is None:
            self._epoll = select.epoll()
            if self._bulk is not None:
                self._bulk.watch(self._epoll.fileno())
            self._loop.add_reader(self._epoll.fileno(), self._look)
        self._epoll.register(fd, events)
        self._ready[fd] = ready
        if took is not None:
            self._took[fd] = took

    def watch(self, fd: int, events: int) -> None:
        """Call for these events from here on."""
        if self._epoll is not None and fd in self._ready:
            self._epoll.modify(fd, events)

    def remove(self, fd: int) -> None:
        """Call no more."""
        if self._epoll is not None and self._ready.pop(fd, None) is not None:
            self._took.pop(fd, None)
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Whatever is still there is called no more."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None
        self._ready.clear()
        self._took.clear()

    def _look(self) -> None:
        """Each socket has its turn before the loop goes on: a heartbeat says that it has looked at all of them."""
        rounds = len(self._ready) // _AT_ONCE + 1
        if self._bulk is not None and self._bulk.ready and self._epoll is not None:
            left = self._bulk.look(rounds)
            while left is not None:
                if left.size is None:
                    self._call(self._ready.get(left.fd), left.events)
                else:
                    self._call(self._took.get(left.fd), left)
                left = self._bulk.go_on() if self._ready else None  # else all is closed
            return
        for _ in range(rounds):
            if self._epoll is None:
                return
            found = self._epoll.poll(0, _AT_ONCE)
            for fd, events in found:
                self._call(self._ready.get(fd), events)
            if len(found) < _AT_ONCE:
                return

    def _call(self, reader: Callable[[T], None] | None, what: T) -> None:
        """None: removed by one before it."""
        if reader is None:
            return
        try:
            reader(what)
        except Exception as error:  # noqa: BLE001 - the other sockets go on, as with handles of their own
            self._loop.call_exception_handler({"message": f"a socket's reader failed: {error}", "exception": error})
