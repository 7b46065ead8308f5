"""What a scenario's publishers of objects and readers of caches must be to one another and to the nodes. Pure."""

from collections.abc import Collection, Iterator
from typing import Final

from fanlab.scenario.findings import (
    MAX_NODES,
    MIN_PAYLOAD_BYTES,
    Finding,
    Keys,
    World,
    is_node,
    named_twice,
    no_channel,
    no_node,
)
from fanlab.scenario.model import Publisher, Reader
from fanlab.scenario.plan import make_streams, object_key

OBJECT_BYTES: Final = len('{"id":"","token":"","pad":""}')  # what an object adds to its id, the marker and the filler
MAX_READS_PER_S: Final = 2000  # so many reads of a frozen node wait at once, for each second of their timeout


def check_objects(keys: Keys, publisher: Publisher) -> Iterator[Finding]:
    """A publisher whose payload is too small for a JSON object."""
    if publisher.objects is None:
        return
    name = publisher.name if publisher.count == 1 else f"{publisher.name}-{publisher.count}"
    needed = OBJECT_BYTES + MIN_PAYLOAD_BYTES + len(object_key(name, publisher.objects, publisher.objects))
    if MIN_PAYLOAD_BYTES <= publisher.payload_bytes < needed:
        yield Finding(
            (*keys, "payload"), f"must be at least {needed}B to hold a JSON object with its id and the marker"
        )


def check_keys(world: World) -> Iterator[Finding]:
    """Two publishers whose objects have the same ids: nobody could tell which of their messages an entry holds."""
    publishers = world.scenario.publishers
    if not any(each.objects for each in publishers):
        return
    first: dict[str, int] = {}
    for stream in make_streams(world.scenario):
        if publishers[stream.config].objects and first.setdefault(stream.publisher, stream.config) != stream.config:
            what = f"its objects would have the ids of those of {publishers[first[stream.publisher]].name!r}"
            yield Finding(("publishers", stream.config, "name"), what)
            return


def check_readers(world: World, caching: Collection[str]) -> Iterator[Finding]:
    """Readers of what nobody writes, or no node keeps; `caching` are the kinds of nodes that have a cache."""
    readers = world.scenario.readers
    yield from named_twice(("readers",), [each.name for each in readers], "the reader", "name")
    for index, reader in enumerate(readers):
        yield from _reader(("readers", index), reader, world, caching)
    rate_per_s = sum(each.rate_per_s for each in readers)
    if rate_per_s > MAX_READS_PER_S:
        yield Finding(("readers",), f"{rate_per_s:,.0f} reads per second; one run takes at most {MAX_READS_PER_S:,}")


def _reader(keys: Keys, reader: Reader, world: World, caching: Collection[str]) -> Iterator[Finding]:
    yield from no_channel((*keys, "channel"), reader.channel, world)
    written = [each for each in world.scenario.publishers if each.channel == reader.channel]
    if reader.channel in world.channels and not any(each.objects for each in written):
        what = f"no publisher on {reader.channel!r} has `objects`, so there is nothing to read"
        yield Finding((*keys, "channel"), what)
    if reader.rate_per_s <= 0:
        yield Finding((*keys, "rate"), "must be above 0/s")
    if reader.timeout_ns == 0:
        yield Finding((*keys, "timeout"), "must be above 0s")
    kinds = [group.kind for group in world.scenario.topology.nodes for _ in range(group.count)][:MAX_NODES]
    named = [f"node-{number + 1}" for number in range(len(kinds))] if reader.nodes is None else reader.nodes
    if not named:
        yield Finding((*keys, "nodes"), "names no node; leave it out for all of them")
    yield from named_twice((*keys, "nodes"), named, "the node")
    for number, node in enumerate(named):
        at: Keys = keys if reader.nodes is None else (*keys, "nodes", number)
        if not is_node(node, world):
            yield from no_node(at, node, world)
        elif (kind := kinds[int(node.removeprefix("node-")) - 1]) not in caching:
            what = f"{node} is of kind {kind!r}, which has no cache to read (no `cache` in its node.yaml)"
            yield Finding(at, f"{what}; name those that have one under `nodes`" if reader.nodes is None else what)
            return
