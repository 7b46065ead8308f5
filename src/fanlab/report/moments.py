"""What happened round one message and one client, moment by moment, from a close-up of the journals. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fanlab.clock import NS_PER_MS, NS_PER_S
from fanlab.ledger.closeup import CloseUp, mark_of
from fanlab.ledger.records import Status
from fanlab.ledger.result import FaultAccount
from fanlab.report import text, words
from fanlab.scenario.plan import Plan, StreamSpec

_NEAR_NS: Final = 2 * NS_PER_S  # of nodes, Redis and connections, what lies this close to the publish is told
_MOST: Final = 24  # moments of one teller
_STAMPS: Final = (
    ("requested_ns", "asked for"),
    ("confirmed_ns", "took hold: a probe saw it"),
    ("ended_ns", "the process has ended"),
    ("heal_requested_ns", "its end asked for"),
    ("heal_confirmed_ns", "over: a probe saw it healed"),
)
_CLOSED: Final = {
    1000: "in order",
    1001: "the node said that it goes",
    1006: "it broke off",
    1013: "the node gave up on a slow reader",
}
_DROPPED: Final = {
    "slow": "its buffer was full",
    "closing": "its connection was ending",
    "write_failed": "the write failed",
}
_PUBLISHED: Final = {
    Status.FAILED: "the publish failed: it is certain that nobody got it",
    Status.TIMED_OUT: "no reply in time: it may have been published, or not",
    Status.UNKNOWN: "the connection to Redis broke after it was sent: it may have been published, or not",
    Status.UNSENT: "missed this slot: it was never sent",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened, by whom it is known."""

    t_ns: int
    who: str
    what: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What the moments are about. Times in ns; `done_ns` is `sent_ns` where nobody knows better."""

    plan: Plan
    stream: StreamSpec
    node: int | None  # index of the node that the client was on
    intended_ns: int
    sent_ns: int
    done_ns: int
    faults: Sequence[tuple[str, FaultAccount]]  # those at work, with their names
    clock: Mapping[str, Any]  # the summary's block

    @property
    def node_id(self) -> str:
        """The name of the client's node."""
        return "no node" if self.node is None else self.plan.nodes[self.node].id


def moments(seen: CloseUp, scene: Scene) -> tuple[Moment, ...]:
    """Everything, in the order of time; at one time in the order of the way."""
    told = [
        *_publisher(seen, scene),
        *_witness(seen, scene),
        *_bounded(_redis(seen, scene)),
        *_bounded(_node(seen, scene)),
        *_bounded(_client(seen, scene)),
        *_received(seen, scene),
        *_faults(scene),
    ]
    return tuple(sorted(told, key=lambda moment: moment.t_ns))


def _publisher(seen: CloseUp, scene: Scene) -> Iterable[Moment]:
    who = scene.stream.publisher
    yield Moment(scene.intended_ns, who, f"means to send it on {scene.stream.channel}")
    outcomes = seen.outcomes[seen.outcomes["stream"] == scene.stream.index]
    if not len(outcomes):
        yield Moment(scene.intended_ns, who, "died over it: nobody knows whether it was sent")
    for outcome in outcomes:
        sent, done, status = int(outcome["sent_ns"]), int(outcome["done_ns"]), Status(int(outcome["status"]))
        if status is not Status.UNSENT:
            yield Moment(sent, who, f"sends it, {text.ms((sent - scene.intended_ns) / NS_PER_MS)} after the time meant")
        yield Moment(max(done, sent), who, _PUBLISHED.get(status) or _receivers(int(outcome["receivers"]), seen, scene))


def _receivers(count: int, seen: CloseUp, scene: Scene) -> str:
    """The reply of a PUBLISH: the connections that Redis wrote it to, the witness's among them."""
    told = f"Redis replies: {count} subscriber{'s' * (count != 1)}"
    if seen.witness is None or not count:
        return told
    copies = len(seen.copies(scene.stream.index))
    if not copies:
        return f"{told}; the witness did not see it, so it may be one of them"
    nodes = count - copies
    if copies == 1:
        return f"{told}: the witness and {nodes} node{'s' * (nodes != 1)}"
    return f"{told}, {copies} of them the witness's"


def _witness(seen: CloseUp, scene: Scene) -> Iterable[Moment]:
    for number, t in enumerate(seen.copies(scene.stream.index)):
        yield Moment(t, "witness", "has it from Redis" if not number else "has it from Redis again")


def _redis(seen: CloseUp, scene: Scene) -> list[Moment]:
    found: list[Moment] = []
    latest: Moment | None = None  # what was last said of the node's connection before it all began
    for line in seen.redis or ():
        moment = _watched(line, scene)
        if moment is None:
            continue
        if _near(moment.t_ns, scene):
            found.append(moment)
        elif moment.t_ns < scene.sent_ns and line["ev"] in ("subscriber", "gone"):
            latest = moment
    return [latest, *found] if latest else found


def _watched(line: Mapping[str, Any], scene: Scene) -> Moment | None:
    event, who, node = line.get("ev"), "redis watch", scene.node_id
    if event == "watch":
        state = "answers" if line.get("state") == "up" else "does not answer"
        return Moment(line["t"], who, f"Redis {state}")
    if line.get("node") != node:
        return None
    if event == "subscriber":
        count = int(line.get("sub") or 0) + int(line.get("psub") or 0)
        return Moment(line["t"], who, f"Redis lists {node} as a subscriber, {count} subscription{'s' * (count != 1)}")
    if event == "gone":
        return Moment(line["t"], who, f"Redis no longer lists {node}'s connection")
    if event == "buffer_kill":
        kilobytes = text.count(int(line.get("omem") or 0) / 1000)
        return Moment(line["t"], who, f"Redis closed {node}'s connection: {kilobytes} kB in its output buffer")
    return None


def _node(seen: CloseUp, scene: Scene) -> list[Moment]:
    if scene.node is None or scene.node not in seen.nodes:
        return []
    who, found = scene.node_id, []
    before: dict[str, Moment] = {}  # by event: the last before it all began
    for line in seen.nodes[scene.node]:
        event, t = line.get("ev"), line["t"]
        mark = mark_of(line)
        if mark is not None and mark[0] != scene.stream.index:
            continue
        if mark is not None:
            found += _handled(line, who, seen.client)
            continue
        what = _spoke(line, scene)
        if what is None:
            continue
        moment = Moment(int(line["from"]) if event == "gap" else t, who, what)
        overlaps = event == "gap" and int(line["from"]) <= scene.done_ns and scene.sent_ns <= int(line["to"])
        if overlaps or _near(moment.t_ns, scene):
            found.append(moment)
        elif moment.t_ns < scene.sent_ns and event in ("redis", "subscribed", "unsubscribed"):
            before["redis" if event == "redis" else "subscribed"] = moment
    return [*before.values(), *found]


def _handled(line: Mapping[str, Any], who: str, client: int) -> list[Moment]:
    """What the node did with the message itself."""
    t, n = line["t"], line.get("n", 0)
    if line.get("ev") == "msg":
        done = int(line.get("done") or t)
        took = text.ms((done - t) / NS_PER_MS)
        return [Moment(t, who, "has it from Redis"), Moment(done, who, f"has handed it to {_clients(n)}, after {took}")]
    if line.get("ev") == "drop":
        why = _DROPPED.get(str(line.get("why")), str(line.get("why")))
        whom = line.get("who")
        named = "" if not isinstance(whom, list) else ", this one" if client in whom else ", not this one"
        return [Moment(t, who, f"drops it for {_clients(n)}{named}: {why}")]
    if line.get("ev") == "cache":
        return [Moment(t, who, f"its cache takes it for {line.get('key')}")]
    return []


def _spoke(line: Mapping[str, Any], scene: Scene) -> str | None:
    """What a node said of itself, or of the message's channel; None: it is of no concern here."""
    event, of_channel = line.get("ev"), line.get("ch") == scene.stream.channel
    if event == "redis":
        error = f": {line['error']}" if line.get("error") else ""
        return f"its connection to Redis is {line.get('state')}{error}"
    if event == "gap" and of_channel:
        took = text.ms((int(line["to"]) - int(line["from"])) / NS_PER_MS)
        return f"may not have heard {scene.stream.channel} from here on, for {took}: it was subscribing again"
    if event in ("subscribed", "unsubscribed") and of_channel:
        return f"is {event} {'to' if event == 'subscribed' else 'from'} {scene.stream.channel} at Redis"
    return {"start": "starts", "stop": "stops in order"}.get(str(event))


def _client(seen: CloseUp, scene: Scene) -> list[Moment]:
    """Its connections: from the last time that it was subscribed before, until it was again."""
    channel = scene.stream.channel
    mine = [event for event in seen.events if event.get("channel") in (None, channel)]
    before = [event for event in mine if event["t"] <= scene.sent_ns]
    after = mine[len(before) :]
    since = max((at for at, event in enumerate(before) if event["ev"] == "subscribed"), default=0)
    live = bool(before) and before[-1]["ev"] == "subscribed"
    if live and (not after or after[0]["t"] > scene.done_ns + _NEAR_NS):
        after = []  # it went on
    back = next((at for at, event in enumerate(after) if event["ev"] in ("subscribed", "left")), len(after) - 1)
    chosen = [*before[since:], *after[: back + 1]]
    found: list[Moment] = []
    ended_ns: int | None = None
    for event in chosen:
        what = _lived(event, scene.plan, ended_ns)
        if what is not None:
            found.append(Moment(event["t"], f"client {seen.client}", what))
        if event["ev"] in ("closed", "failed"):
            ended_ns = event["t"]
    return found


def _lived(event: Mapping[str, Any], plan: Plan, ended_ns: int | None) -> str | None:
    index, channel = event.get("node"), event.get("channel")
    node = plan.nodes[index].id if isinstance(index, int) and index < len(plan.nodes) else "a node"
    waited = "" if ended_ns is None else f", after a back-off of {text.ms((event['t'] - ended_ns) / NS_PER_MS)}"
    code = event.get("code")
    why = event.get("reason") or _CLOSED.get(code if isinstance(code, int) else 0, "")
    whose = "closes its connection" if event.get("own") else "loses its connection"
    return {
        "connecting": f"connects to {node}{waited}",
        "failed": f"cannot connect to {node}: {event.get('error') or 'no reason given'}",
        "open": f"is connected to {node}",
        "subscribing": f"asks {node} for {channel}",
        "subscribed": f"is subscribed to {channel} on {node}",
        "closed": f"{whose} to {node}: code {code}" + (f", {why}" if why else ""),
        "left": "leaves of its own will: owed nothing from here on",
        "damaged": f"finds a frame from {node} damaged",
    }.get(event["ev"])


def _received(seen: CloseUp, scene: Scene) -> Iterable[Moment]:
    mine = (seen.deliveries["client"] == seen.client) & (seen.deliveries["stream"] == scene.stream.index)
    for number, record in enumerate(seen.deliveries[mine]):
        late = words.after((int(record["recv_ns"]) - scene.intended_ns) / NS_PER_MS, scene.clock)
        node = int(record["node"])
        via = scene.plan.nodes[node].id if node < len(scene.plan.nodes) else "a node"
        again = f" again (copy {number + 1})" if number else ""
        yield Moment(
            int(record["recv_ns"]),
            f"client {seen.client}",
            f"receives it{again} from {via}, {late} after the time meant",
        )


def _faults(scene: Scene) -> Iterable[Moment]:
    for name, fault in scene.faults:
        for field, what in _STAMPS:
            t = getattr(fault, field)
            if t is not None:
                yield Moment(t, "fault", f"{name}: {what}")


def _near(t_ns: int, scene: Scene) -> bool:
    return scene.sent_ns - _NEAR_NS <= t_ns <= scene.done_ns + _NEAR_NS


def _bounded(found: Sequence[Moment]) -> Sequence[Moment]:
    """The first and the last of too many."""
    if len(found) <= _MOST:
        return found
    head, tail = found[: _MOST // 2], found[-_MOST // 2 :]
    left_out = len(found) - len(head) - len(tail)
    return [*head, Moment(head[-1].t_ns, head[-1].who, f"… {left_out} more of its lines …"), *tail]


def _clients(n: object) -> str:
    return f"{n} client" if n == 1 else f"{n} clients"
