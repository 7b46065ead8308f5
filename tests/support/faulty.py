"""Plants of `planting` for each kind of fault beyond crash, stop and pause: the truth of a loss, its fault included.

Each takes at most 1800 ms, and is over after that: the node is subscribed and its clients are back, unless it says so.
"""

from collections.abc import Callable, Mapping
from typing import Final

from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.ends import TOO_SLOW
from fanlab.ledger.events import NO_ANSWER
from support.histories import ns
from support.planting import FOREVER, Spell, Story, Truth

SILENT: Final = {"code": 1006, "reason": f"{NO_ANSWER} within 0.3 s"}


def _name(node: int) -> str:
    return f"node-{node + 1}"


def _down(story: Story, node: int, start: float, up: float, fault: int, **how: int) -> None:
    """The node's process is gone from `start` to `up`, and its clients, who may go nowhere else, come back then."""
    down, gone = Truth(Cause.NODE_DOWN, Hop.REDIS_NODE, fault), Truth(Cause.CLIENT_RECONNECTING, Hop.CLIENT, fault)
    story.reconnect(node, start, up - 6)
    story.uncounted[node].append(Spell(start, up - 6, down))
    story.say(node, up - 9, "start", pid=2)
    story.say(node, up - 8, "redis", state="up")
    story.say(node, up - 6, "subscribed", ch="news")
    for client in story.of(node):
        story.absent[client] += [Spell(start, up, down), Spell(up, up + 45, gone)]
        story.away(client, start + 1, up + 45, **how)


def _lost_link(story: Story, node: int, since: float, noticed: float, back: float, *, why: str) -> None:
    """The node's journal: its connection to Redis is lost, and renewed."""
    story.say(node, noticed, "redis", state="down", why=why, error=why)
    story.say(node, back - 1, "redis", state="up")
    story.say(node, back, "gap", ch="news", **{"from": ns(since - 5), "to": ns(back)})
    story.say(node, back, "subscribed", ch="news")


def _away(story: Story, node: int, start: float, back: float, fault: int, **how: int | str) -> None:
    """The node's clients lose their connections, and come back."""
    for client in story.of(node):
        story.absent[client].append(Spell(start, back, Truth(Cause.CLIENT_RECONNECTING, Hop.CLIENT, fault)))
        story.away(client, start, back, **how)


def _not_handed(story: Story, node: int, start: float, end: float, truth: Truth) -> None:
    for client in story.of(node):
        story.unhanded[client].append(Spell(start, end, truth))


def restart(story: Story, node: int, at: float) -> None:
    """SIGTERM, and started again at once."""
    fault = story.fault("restart", _name(node), at, at + 200)
    story.say(node, at + 2, "stop")
    story.history.ended(node, at + 3, fault, status=0)
    _down(story, node, at, at + 201, fault, code=1001)


def memory_limit(story: Story, node: int, at: float) -> None:
    """A limit; the kernel kills the node for it 300 ms later; when the limit is lifted the node is started again."""
    fault = story.fault("memory-limit", _name(node), at, at + 600, limit_bytes=1 << 20)
    story.history.ended(node, at + 303, fault)
    _down(story, node, at + 300, at + 601, fault)


def roomy_memory_limit(story: Story, node: int, at: float) -> None:
    """A limit that kills nobody: what a client that loses its connection meanwhile misses, it misses by itself."""
    fault = story.fault("memory-limit", _name(node), at, at + 600, limit_bytes=1 << 30)
    _away(story, node, at + 100, at + 165, fault)


def throttled(story: Story, node: int, at: float) -> None:
    """The node has so little CPU that Redis closes its connection for what it does not read."""
    fault = story.fault("cpu-throttle", _name(node), at, at + 300, cores=0.1)
    truth = Truth(Cause.OUTPUT_BUFFER_KILL, Hop.REDIS_NODE, fault)
    _overrun(story, node, at, truth)


def starved(story: Story, node: int, at: float) -> None:
    """The node has so little CPU that its clients give it up, with messages in its hands."""
    fault = story.fault("cpu-throttle", _name(node), at, at + 400, cores=0.01)
    _not_handed(story, node, at + 100, at + 240, Truth(Cause.NODE_DOWN, Hop.NODE_SOCKET, fault))
    _away(story, node, at + 240, at + 300, fault, **SILENT)


def _overrun(story: Story, node: int, at: float, truth: Truth) -> None:
    story.unheard[node].append(Spell(at, at + 100, truth))
    story.uncounted[node].append(Spell(at + 100, at + 200, truth))
    story.kills.append((node, at + 100))
    story.reconnect(node, at + 100, at + 200)
    _lost_link(story, node, at, at + 101, at + 200, why="closed")


def redis_pause(story: Story, node: int, at: float) -> None:
    """Redis is frozen for so long that the node gives it up; what was published meanwhile it hands to the dead link."""
    fault = story.fault("redis-pause", "redis", at, at + 400)
    _given_up(story, node, at, fault)


def redis_client_pause(story: Story, node: int, at: float) -> None:
    """Redis answers nobody for so long that the node gives it up."""
    fault = story.fault("redis-client-pause", "redis", at, at + 400, mode="all")
    _given_up(story, node, at, fault)


def _given_up(story: Story, node: int, at: float, fault: int) -> None:
    truth = Truth(Cause.RESUBSCRIBE_GAP, Hop.REDIS_NODE, fault)
    story.unheard[node].append(Spell(at, at + 420, truth))
    story.uncounted[node].append(Spell(at + 420, at + 460, truth))
    story.reconnect(node, at + 420, at + 460)
    _lost_link(story, node, at, at + 200, at + 460, why="timeout")


def redis_output_buffer(story: Story, node: int, at: float) -> None:
    """Redis' buffers are small, and one node lags for a moment."""
    fault = story.fault("redis-output-buffer", "redis", at - 100, at + 300, limit_bytes=1000)
    _overrun(story, node, at, Truth(Cause.OUTPUT_BUFFER_KILL, Hop.REDIS_NODE, fault))


def redis_maxclients(story: Story, node: int, at: float) -> None:
    """The node's connection to Redis breaks by itself, and Redis lets nobody in."""
    fault = story.fault("redis-maxclients", "redis", at - 100, at + 400)
    story.uncounted[node].append(Spell(at, at + 500, Truth(Cause.RESUBSCRIBE_GAP, Hop.REDIS_NODE, fault)))
    story.reconnect(node, at, at + 500)
    _lost_link(story, node, at, at + 1, at + 500, why="closed")


def killed_and_kept_out(story: Story, node: int, at: float) -> None:
    """All subscriptions are cut; the others are back at once, but for one node that comes late to a full Redis."""
    story.fault("redis-kill-pubsub", "redis", at, at + 30)
    for other in {0, 1, 2} - {node}:
        if story.links[other][-1].end == FOREVER:
            story.reconnect(other, at, at + 6)
            _lost_link(story, other, at, at + 1, at + 6, why="closed")
    fault = story.fault("redis-maxclients", "redis", at + 8, at + 400)
    story.uncounted[node].append(Spell(at, at + 460, Truth(Cause.RESUBSCRIBE_GAP, Hop.REDIS_NODE, fault)))
    story.reconnect(node, at, at + 460)
    _lost_link(story, node, at, at + 1, at + 460, why="closed")


def reset_of_clients(story: Story, node: int, at: float) -> None:
    """Each client's connection is reset, with a message on it; they come back."""
    fault = story.fault("connection-reset", _name(node), at, at + 70, link="clients")
    _not_handed(story, node, at - 15, at, Truth(Cause.PARTITION, Hop.NODE_SOCKET, fault))
    _away(story, node, at, at + 65, fault)


def reconnect_storm(story: Story, node: int, at: float) -> None:
    """The same again and again."""
    for turn in range(3):
        start = at + 200 * turn
        fault = story.fault("reconnect-storm", _name(node), start, start + 70, link="clients")
        _away(story, node, start, start + 65, fault)


def partition_of_clients(story: Story, node: int, at: float) -> None:
    """Nothing passes between the node and its clients, who give it up, and cannot come back until it is over."""
    fault = story.fault("partition", _name(node), at, at + 600, link="clients", mode="hold", direction="both")
    _not_handed(story, node, at, at + 300, Truth(Cause.PARTITION, Hop.NODE_SOCKET, fault))
    _away(story, node, at + 300, at + 645, fault, **SILENT)


def partition_for_good(story: Story, node: int, at: float) -> None:
    """Nothing passes any more, and the run ends before a client notices."""
    fault = story.fault("partition", _name(node), at, link="clients", mode="drop", direction="from-node")
    _not_handed(story, node, at, FOREVER, Truth(Cause.PARTITION, Hop.NODE_SOCKET, fault))


def half_open_clients(story: Story, node: int, at: float) -> None:
    """The node's ends of the connections are closed; its clients wait in vain until they give up."""
    fault = story.fault("half-open", _name(node), at, at + 300, link="clients")
    _not_handed(story, node, at, at + 200, Truth(Cause.PARTITION, Hop.NODE_SOCKET, fault))
    _away(story, node, at + 200, at + 265, fault, **SILENT)


def slow_clients(story: Story, node: int, at: float) -> None:
    """Clients get too little for their buffers not to fill: the node drops, then closes."""
    fault = story.fault("slow-clients", _name(node), at, at + 500, link="clients")
    for client in story.of(node):
        story.unhanded[client].append(
            Spell(at + 100, at + 160, Truth(Cause.SLOW_CLIENT_DROP, Hop.NODE_SOCKET, fault), "slow")
        )
    _away(story, node, at + 170, at + 235, fault, code=TOO_SLOW)


def slow_links(story: Story, node: int, at: float) -> None:
    """As little passes that the clients, whose pings wait, give the node up with messages on their way."""
    fault = story.fault("bandwidth", _name(node), at, at + 500, link="clients", direction="both")
    _not_handed(story, node, at + 100, at + 240, Truth(Cause.PARTITION, Hop.NODE_SOCKET, fault))
    _away(story, node, at + 240, at + 315, fault, **SILENT)


def partition_from_redis(story: Story, node: int, at: float) -> None:
    """Nothing passes between Redis and the node, which gives its connection up; Redis learns that later."""
    fault = story.fault("partition", _name(node), at, at + 1550, link="redis", mode="hold", direction="both")
    _hushed(story, node, at, fault)


def partition_to_redis(story: Story, node: int, at: float) -> None:
    """Only what the node says does not pass: messages come, until it gives its connection up for want of an answer."""
    fault = story.fault("partition", _name(node), at, at + 600, link="redis", direction="from-node")
    truth = Truth(Cause.PARTITION, Hop.REDIS_NODE, fault)
    story.unheard[node].append(Spell(at + 500, at + 640, truth))
    story.reconnect(node, at + 700, at + 640)
    _lost_link(story, node, at + 500, at + 500, at + 640, why="timeout")


def half_open_redis(story: Story, node: int, at: float) -> None:
    """Redis' end of the connection is closed, and the node notices late."""
    fault = story.fault("half-open", _name(node), at, at + 1550, link="redis")
    truth = Truth(Cause.PARTITION, Hop.REDIS_NODE, fault)
    story.uncounted[node].append(Spell(at, at + 1600, truth))
    story.reconnect(node, at, at + 1600)
    _lost_link(story, node, at, at + 1500, at + 1600, why="timeout")


def _hushed(story: Story, node: int, at: float, fault: int) -> None:
    story.unheard[node].append(Spell(at, at + 1600, Truth(Cause.PARTITION, Hop.REDIS_NODE, fault)))
    story.reconnect(node, at, at + 1600)
    _lost_link(story, node, at, at + 1500, at + 1600, why="timeout")
    story.links[node][-2].end = at + 1700


def reset_from_redis(story: Story, node: int, at: float) -> None:
    """The node's connection to Redis is reset, and renewed after a back-off."""
    fault = story.fault("connection-reset", _name(node), at, at + 110, link="redis")
    story.uncounted[node].append(Spell(at, at + 100, Truth(Cause.RESUBSCRIBE_GAP, Hop.REDIS_NODE, fault)))
    story.reconnect(node, at, at + 100)
    _lost_link(story, node, at, at + 1, at + 100, why="closed")


def slow_link_to_redis(story: Story, node: int, at: float) -> None:
    """So little passes from Redis to the node that Redis closes the connection for what waits."""
    fault = story.fault("bandwidth", _name(node), at, at + 300, link="redis", direction="both")
    _overrun(story, node, at, Truth(Cause.OUTPUT_BUFFER_KILL, Hop.REDIS_NODE, fault))


FAULTS: Final[Mapping[str, Callable[[Story, int, float], None]]] = {
    plant.__name__: plant
    for plant in (
        restart,
        memory_limit,
        roomy_memory_limit,
        throttled,
        starved,
        redis_pause,
        redis_client_pause,
        redis_output_buffer,
        redis_maxclients,
        killed_and_kept_out,
        reset_of_clients,
        reconnect_storm,
        partition_of_clients,
        partition_for_good,
        half_open_clients,
        slow_clients,
        slow_links,
        partition_from_redis,
        partition_to_redis,
        half_open_redis,
        reset_from_redis,
        slow_link_to_redis,
    )
}
