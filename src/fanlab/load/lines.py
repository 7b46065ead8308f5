"""The parent's lines to the load's processes: each connects to one Unix socket, and says who it is when it is ready."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from fanlab.load.wire import CONFIGURED, LineReader, Message, encode

MASTER, READERS = "load-master", "load-readers"
_UNITS = {"master": MASTER, "readers": READERS}  # by role; workers have a number
_READ_BYTES = 1 << 16


class Lines:
    """One line per process, by its unit. Workers on other hosts have lines of their own, which `heard` takes in."""

    def __init__(self, on_message: Callable[[Message], None], on_end: Callable[[str], None]) -> None:
        """`on_message` gets all that they say, `on_end` the unit of one whose line has ended."""
        self._on_message, self._on_end = on_message, on_end
        self._server: asyncio.Server | None = None
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._waiting: set[asyncio.StreamWriter] = set()
        self._configured = False
        self.hellos: dict[str, Message] = {}

    @property
    def open(self) -> frozenset[str]:
        """The units that have said who they are, and have not ended."""
        return frozenset(self._writers)

    async def listen(self, path: Path) -> None:
        """Listen to whoever connects."""
        self._server = await asyncio.start_unix_server(self._serve, path)

    def configured(self) -> None:
        """Tell those that wait for it, and all that come later, that there is a configuration."""
        self._configured = True
        for writer in self._waiting:
            writer.write(encode(CONFIGURED))
        self._waiting.clear()

    def tell(self, unit: str, message: Message) -> bool:
        """Whether there is such a line to tell it on."""
        if unit not in self._writers:
            return False
        self._writers[unit].write(encode(message))
        return True

    def heard(self, message: Message, *, unit: str, writer: asyncio.StreamWriter) -> None:
        """A line of that unit."""
        if message["ev"] == "hello":
            self._writers[unit] = writer
            self.hellos[unit] = message
        self._on_message(message)

    def hung_up(self, unit: str) -> None:
        """The line of that unit has ended."""
        self._writers.pop(unit, None)
        self._on_end(unit)

    def refuse(self) -> None:
        """Nobody new; whoever waits for a configuration is let go, and takes it for the end."""
        for writer in self._waiting:
            writer.close()
        if self._server is not None:
            self._server.close()

    def close(self) -> None:
        """End all lines."""
        for writer in self._writers.values():
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One process's line, until it ends."""
        if self._configured:
            writer.write(encode(CONFIGURED))
        else:
            self._waiting.add(writer)
        lines = LineReader()
        unit: str | None = None
        try:
            while data := await reader.read(_READ_BYTES):
                for message in lines.feed(data):
                    if message["ev"] == "hello":
                        unit = _UNITS.get(message["role"]) or f"load-{message['index']}"
                    self.heard(message, unit=unit or "", writer=writer)
        except ConnectionError:
            pass  # an abrupt end is an end
        finally:
            self._waiting.discard(writer)
            if unit is not None:
                self.hung_up(unit)
            writer.close()
