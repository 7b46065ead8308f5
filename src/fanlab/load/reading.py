"""Reading caches without sockets: which entry is read when and where, and what an answer says. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count

from fanlab.clock import NS_PER_S
from fanlab.ledger.records import READ, TOKEN_LENGTH, TOKEN_PREFIX, ReadStatus, decode_token
from fanlab.load.config import LoadConfig, ReadersConfig
from fanlab.scenario.plan import object_key
from fanlab.seed import rng


@dataclass(frozen=True, slots=True)
class Entry:
    """One key: object `number` of a stream, of `objects`."""

    stream: int
    number: int
    objects: int
    key: str


@dataclass(frozen=True, slots=True)
class Due:
    """A read to be made."""

    intended_ns: int
    node: int
    entry: Entry
    timeout_ns: int


@dataclass(frozen=True, slots=True)
class Read:
    """How a read ended: the fields of records.READ."""

    intended_ns: int
    asked_ns: int
    answered_ns: int
    entry: Entry
    node: int
    status: ReadStatus
    seq: int = 0
    sweep: bool = False

    def packed(self) -> bytes:
        """As the stripe has it."""
        times = (self.intended_ns, self.asked_ns, self.answered_ns)
        entry = self.entry
        return READ.pack(*times, self.seq, entry.number, entry.stream, self.node, self.status, self.sweep, 0)


def entries(config: LoadConfig, channel: str) -> list[Entry]:
    """The keys of all publishers with objects on a channel."""
    return [
        Entry(publisher.first_stream + k, number, publisher.objects, key)
        for publisher in config.publishers
        if publisher.channel == channel and publisher.objects
        for k in range(publisher.count)
        for number in range(publisher.objects)
        for key in (object_key(publisher.stream_name(k), number + 1, publisher.objects),)
    ]


def schedule(config: LoadConfig, reader: ReadersConfig, start_ns: int, end_ns: int) -> Iterator[Due]:
    """The reads of one reader in order of time, evenly spaced in [start_ns, end_ns): nodes in turn, entries by lot."""
    found = entries(config, reader.channel)
    random = rng(config.seed, "reader", reader.name)
    for number in count():
        intended_ns = start_ns + round(number * NS_PER_S / reader.rate_per_s)
        if intended_ns >= end_ns:
            return
        node = reader.nodes[number % len(reader.nodes)]
        yield Due(intended_ns, node, found[random.randrange(len(found))], reader.timeout_ns)


def everything(config: LoadConfig) -> dict[int, list[tuple[Entry, int]]]:
    """By node, each entry that some reader may read there, once, with the reader's timeout in ns."""
    found: dict[int, dict[Entry, int]] = {}
    for reader in config.readers:
        for node in reader.nodes:
            found.setdefault(node, {}).update(dict.fromkeys(entries(config, reader.channel), reader.timeout_ns))
    return {node: list(timeouts.items()) for node, timeouts in sorted(found.items())}


def verdict(entry: Entry, run_tag: int, status: int, body: bytes) -> tuple[ReadStatus, int]:
    """What an HTTP answer says of an entry: its status, and the version that is held (0: none, or nobody knows).

    The version counts only with the token of a message of this run that wrote this very key; a node that answers with
    anything else has not said what it holds.
    """
    if status == HTTPStatus.NOT_FOUND:
        return ReadStatus.MISSING, 0
    at = body.find(TOKEN_PREFIX) if status == HTTPStatus.OK else -1
    while at >= 0:
        token = decode_token(body[at : at + TOKEN_LENGTH])
        if token is not None:
            right = token.run == run_tag and token.stream == entry.stream
            right = right and token.seq >= 1 and (token.seq - 1) % entry.objects == entry.number
            return (ReadStatus.OK, token.seq) if right else (ReadStatus.FAILED, 0)
        at = body.find(TOKEN_PREFIX, at + 1)
    return ReadStatus.FAILED, 0
