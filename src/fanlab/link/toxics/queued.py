"""Stages that keep what comes until its time: most toxics differ in nothing but when that is."""

from collections import deque
from collections.abc import Iterable, Iterator

from fanlab.link.items import Item

NEVER = 1 << 62  # ns: by itself, it does not leave


class Queued:
    """First in, first out, each at its time or as soon as those before it have left."""

    spare = 0

    def __init__(self) -> None:
        self._queue: deque[tuple[int, Item]] = deque()
        self.held = 0
        self.discarded = 0
        self.touched = 0

    def schedule(self, item: Item, now_ns: int) -> Iterable[tuple[int, Item]]:
        """This item's time; it may be cut into pieces, each with a time of its own."""
        raise NotImplementedError

    def feed(self, item: Item, now_ns: int) -> None:
        """Put it in the queue."""
        pieces, late = 0, False
        for due_ns, piece in self.schedule(item, now_ns):
            self._queue.append((due_ns, piece))
            self.held += size_of(piece)
            pieces += 1
            late = late or due_ns > now_ns
        if late or pieces > 1:
            self.touched += size_of(item)

    def take(self, now_ns: int) -> list[Item]:
        """All whose time has come."""
        return list(self._pop(now_ns))

    def due_ns(self) -> int | None:
        """The first one's time."""
        return self._queue[0][0] if self._queue and self._queue[0][0] < NEVER else None

    def release(self) -> list[Item]:
        """All."""
        return list(self._pop(NEVER))

    def _pop(self, until_ns: int) -> Iterator[Item]:
        while self._queue and self._queue[0][0] <= until_ns:
            _, item = self._queue.popleft()
            self.held -= size_of(item)
            yield item


def size_of(item: Item) -> int:
    """Bytes in it; an end has none."""
    return len(item) if isinstance(item, bytes) else 0
