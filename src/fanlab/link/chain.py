"""One direction of one connection: bytes go through the toxics in a row, and then wait for the receiver. Pure."""

from collections import deque

from fanlab.link.items import End, Item, Stage

CAPACITY_BYTES = 64_000  # that a direction holds at most, beside what the kernel's socket buffers hold


class Chain:
    """Stages by toxic's name, in the order in which they were added, and what has passed them all."""

    __slots__ = ("_discarded", "out", "out_bytes", "stages")

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self.out: deque[Item] = deque()  # may leave now, as soon as the receiver takes it
        self.out_bytes = 0
        self._discarded = 0

    @property
    def held(self) -> int:
        """Bytes that came in and have not left."""
        return self.out_bytes + sum(stage.held for stage in self.stages.values())

    @property
    def discarded(self) -> int:
        """Bytes that came in and never leave."""
        return self._discarded + sum(stage.discarded for stage in self.stages.values())

    @property
    def capacity(self) -> int:
        """Bytes that it takes at most."""
        return CAPACITY_BYTES + sum(stage.spare for stage in self.stages.values())

    def feed(self, item: Item, now_ns: int) -> None:
        """Take in what the sender sent, `CAPACITY_BYTES` at most, or its end."""
        for stage in self.stages.values():
            stage.feed(item, now_ns)
            self.pump(now_ns)
            return
        self._emit([item])

    def pump(self, now_ns: int) -> None:
        """Move on whatever may move by now."""
        moving: list[Item] = []
        for stage in self.stages.values():
            for item in moving:
                stage.feed(item, now_ns)
            moving = stage.take(now_ns)
        self._emit(moving)

    def due_ns(self) -> int | None:
        """When `pump` has something to move next; None: not by itself."""
        return min((due for stage in self.stages.values() if (due := stage.due_ns()) is not None), default=None)

    def sent(self, count: int) -> None:
        """The receiver has taken so many bytes of the first item of `out`."""
        first = self.out[0]
        if not isinstance(first, bytes):
            raise TypeError("an end is no bytes")
        self.out_bytes -= count
        if count == len(first):
            self.out.popleft()
        else:
            self.out[0] = first[count:]

    def discard_bytes(self) -> None:
        """Lose the bytes in `out`; the ends stay."""
        ends = [item for item in self.out if isinstance(item, End)]
        self._discarded += self.out_bytes
        self.out.clear()
        self.out.extend(ends)
        self.out_bytes = 0

    def close(self) -> None:
        """Lose all, toxics included."""
        self._discarded = self.held + self.discarded
        self.stages.clear()
        self.out.clear()
        self.out_bytes = 0

    def add(self, name: str, stage: Stage, now_ns: int) -> None:
        """A toxic begins to hold, also for what was on its way."""
        waiting = list(self.out)
        self.out.clear()
        self.out_bytes = 0
        self.stages[name] = stage
        for item in waiting:
            stage.feed(item, now_ns)
        self.pump(now_ns)

    def remove(self, name: str, now_ns: int) -> None:
        """A toxic ends; what it held goes on, ahead of what came later. KeyError if there is none of this name."""
        names = list(self.stages)
        later = names[names.index(name) + 1 :] if name in self.stages else []
        stage = self.stages.pop(name)
        left = stage.release()
        self._discarded += stage.discarded
        for item in left:
            if later:
                self.stages[later[0]].feed(item, now_ns)
            else:
                self._emit([item])
        self.pump(now_ns)

    def _emit(self, items: list[Item]) -> None:
        for item in items:
            self.out.append(item)
            if isinstance(item, bytes):
                self.out_bytes += len(item)
