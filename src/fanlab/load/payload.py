"""What a message holds besides its token: filler, or a JSON object for the nodes' caches. Pure.

A payload is a function of its stream and its number, so that whoever receives one can tell whether its bytes are those
that were published.
"""

from dataclasses import dataclass

from fanlab.ledger.records import TOKEN_LENGTH
from fanlab.load.config import LoadConfig
from fanlab.scenario.plan import object_key

_ALPHABET = b"abcdeghijkmnopqrstuvwxyzABCDEGHIJKMNOPQRSTUVWXYZ0123456789"  # no f and no l: no second token by chance

_PAD_OPEN, _PAD_CLOSE = b'","pad":"', b'"}'


@dataclass(frozen=True, slots=True)
class Payload:
    """The payloads of one stream, of `size` bytes each: plain, or `{"id":"<publisher>-<k>","token":…,"pad":…}`."""

    publisher: str  # the stream's own, as "accounts-2"
    size: int
    objects: int | None

    def around(self, seq: int) -> tuple[bytes, bytes]:
        """What stands before and after the token in message `seq` (from 1)."""
        if self.objects is None:
            return b"", filler(self.size - TOKEN_LENGTH)
        head = b'{"id":"%b","token":"' % object_key(self.publisher, seq, self.objects).encode()
        room = self.size - TOKEN_LENGTH - len(head) - len(_PAD_OPEN) - len(_PAD_CLOSE)
        return head, _PAD_OPEN + filler(room) + _PAD_CLOSE

    def pad(self, seq: int) -> bytes:
        """The filler in message `seq`, which stands in any envelope as it is."""
        tail = self.around(seq)[1]
        return tail if self.objects is None else tail[len(_PAD_OPEN) : -len(_PAD_CLOSE)]


def filler(size: int) -> bytes:
    """`size` bytes of ASCII letters and digits in which no token can begin; none for a negative size."""
    return (_ALPHABET * (size // len(_ALPHABET) + 1))[: max(0, size)]


def payloads(config: LoadConfig) -> list[Payload]:
    """The payloads of each stream, by its index."""
    return [
        Payload(each.stream_name(k), max(each.payload_bytes, TOKEN_LENGTH), each.objects)
        for each in config.publishers
        for k in range(each.count)
    ]
