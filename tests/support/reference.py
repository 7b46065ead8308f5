"""The ledger's rules once more, slow and plainly right: a dictionary entry per (client, message), no numpy, no files.

It shares nothing with fanlab.ledger but the numbers of records.Status, so that an error would have to be made twice.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

from fanlab.ledger.records import Status
from support.histories import Delivery, History, ns

FOREVER = float("inf")
TERMS = (
    "owed",
    "delivered",
    "lost",
    "indeterminate",
    "duplicated",
    "reordered",
    "unexpected",
    "disagreed",
    "corrupted",
)


@dataclass
class Reference:
    """What the history comes to."""

    measure: Counter[str] = field(default_factory=Counter)
    warm_up: Counter[str] = field(default_factory=Counter)
    losses: set[tuple[int, int, int]] = field(default_factory=set)  # (client, stream, seq), measure phase
    odd: list[tuple[str, int, int, int, int]] = field(default_factory=list)  # (kind, client, stream, seq, received)
    latencies: list[int] = field(default_factory=list)
    by_client: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))


@dataclass
class Asked:
    """What one client is owed of one channel."""

    ask: float
    confirm: float
    fade: float
    left: float
    held: float


@dataclass
class Message:
    """One message as its publisher knows it."""

    intended: int
    sent: float
    done: float
    status: Status | None


def reckon(history: History) -> Reference:
    """Account for a history."""
    result = Reference()
    messages, asked = _messages(history), windows(history)
    history = replace(history, deliveries=history.deliveries + _mended(history, result, messages, asked))
    good = _count_received(history, result, messages, asked)
    _count_owed(history, result, messages, asked, good)
    late = _count_reordered(history, result, messages, good)
    _count_disagreed(history, result, messages, good - late)
    return result


Messages = dict[tuple[int, int], "Message"]  # by (stream, seq)
Windows = dict[tuple[int, int], "Asked"]  # by (client, stream)
Keys = set[tuple[int, int, int]]  # (client, stream, seq)


def _phase(result: Reference, at: float) -> Counter[str]:
    return result.measure if at >= ns(0) else result.warm_up


def _odd(result: Reference, at: float, kind: str, key: tuple[int, int, int], *received: int) -> None:
    _phase(result, at)[kind] += len(received)
    if at >= ns(0):
        result.odd += [(kind, *key, recv) for recv in received]


def _mended(history: History, result: Reference, messages: Messages, asked: Windows) -> list[Delivery]:
    """Count what came damaged; return the deliveries that it was, as far as it can be told."""
    mended: list[Delivery] = []
    unknown: list[tuple[int, int, int]] = []
    for event in history.events:
        if event["ev"] != "damaged":
            continue
        at, client, node = event["t"], event["client"], event["node"]
        if "bytes" not in event:
            message = messages.get((event["stream"], event["seq"]))
            key = (client, event["stream"], event["seq"])
            _odd(result, message.intended if message else at, "corrupted", key, at)
            continue
        text = bytes.fromhex(event["bytes"])
        fits = [
            (stream, seq)
            for (stream, seq), message in messages.items()
            if sum(a != b for a, b in zip(text, history.token(seq, stream), strict=True)) == 1
            and _may_be(message, asked.get((client, stream)), at)
        ]
        if len(fits) == 1:
            mended.append((at, messages[fits[0]].intended, fits[0][1], client, fits[0][0], node))
        else:
            unknown.append((at, client, node))
    mended += _between_neighbours(history, messages, asked, mended, unknown)
    for recv, intended, seq, client, stream, _ in mended:
        _odd(result, intended, "corrupted", (client, stream, seq), recv)
    left = Counter(unknown) - Counter((recv, client, node) for recv, _, _, client, _, node in mended)
    for recv, client, _ in left.elements():
        _odd(result, recv, "corrupted", (client, 0xFFFF, 0), recv)
    return mended


def _between_neighbours(
    history: History, messages: Messages, asked: Windows, mended: list[Delivery],
    unknown: list[tuple[int, int, int]],
) -> list[Delivery]:  # fmt: skip
    came = history.deliveries + mended
    claims: list[Delivery] = []
    for at, client, node in unknown:
        fits: list[Delivery] = []
        for stream in range(len(history.streams)):
            mine = [(recv, q, n) for recv, _, q, c, s, n in came if (c, s) == (client, stream) and (s, q) in messages]
            before, after = [one for one in mine if one[0] < at], [one for one in mine if one[0] >= at]
            if not before or not after:
                continue
            (_, low, left), (_, high, right) = max(before), min(after)
            message = messages.get((stream, low + 1))
            if high != low + 2 or left != node or right != node or message is None:
                continue
            missing = all(q != low + 1 for _, q, _ in mine)
            if missing and _may_be(message, asked.get((client, stream)), at):
                fits.append((at, message.intended, low + 1, client, stream, node))
        claims += fits if len(fits) == 1 else []
    return [one for one in claims if sum(other[2:5] == one[2:5] for other in claims) == 1]


def _may_be(message: Message, window: Asked | None, at: float) -> bool:
    return window is not None and _wanted(message, window) and message.sent <= at


def _count_received(history: History, result: Reference, messages: Messages, asked: Windows) -> Keys:
    copies: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
    for recv, intended, seq, client, stream, _node in history.deliveries:
        copies[client, stream, seq].append((recv, intended))
    good: Keys = set()
    for (client, stream, seq), received in copies.items():
        message = messages.get((stream, seq))
        at = message.intended if message else min(intended for _, intended in received)
        times = sorted(recv for recv, _ in received)
        _odd(result, at, "duplicated", (client, stream, seq), *times[1:])
        window = asked.get((client, stream))
        if message is None or window is None or not _wanted(message, window):
            _odd(result, at, "unexpected", (client, stream, seq), times[0])
            continue
        _phase(result, at)["delivered"] += 1
        good.add((client, stream, seq))
        if at >= ns(0):
            result.by_client["delivered"][client] += 1
            result.latencies.append(max(0, times[0] - message.intended))
    return good


def _count_owed(history: History, result: Reference, messages: Messages, asked: Windows, good: Keys) -> None:
    partial = history.status != "complete" or not history.close_stripes or history.drain_ended_by != "quiet"
    horizon = FOREVER if history.close_stripes else ns(history.heartbeat_ms) if history.heartbeat_ms is not None else 0
    for (client, stream), window in asked.items():
        for (of, seq), message in messages.items():
            if of != stream or message.status is Status.UNSENT:
                continue
            if message.done < window.ask or message.sent > window.left:
                continue
            tally = _phase(result, message.intended)
            tally["owed"] += 1
            in_measure = message.intended >= ns(0)
            result.by_client["owed"][client] += in_measure
            if (client, stream, seq) in good:
                continue
            sure = message.sent > window.confirm and message.done < window.fade
            unknown = message.status in (None, Status.TIMED_OUT, Status.UNKNOWN)
            later = any((client, stream, other) in good for other in range(seq + 1, 100))
            unseen = partial and not later and (message.done >= window.held or message.done >= horizon)
            if not sure or unknown or unseen:
                tally["indeterminate"] += 1
                continue
            tally["lost"] += 1
            if in_measure:
                result.losses.add((client, stream, seq))
                result.by_client["lost"][client] += 1


def _count_reordered(history: History, result: Reference, messages: Messages, good: Keys) -> Keys:
    seen: Keys = set()
    late: Keys = set()
    highest: dict[tuple[int, int], int] = defaultdict(int)
    for recv, _, seq, client, stream, _node in sorted(history.deliveries, key=lambda delivery: delivery[0]):
        if (client, stream, seq) in good - seen:
            seen.add((client, stream, seq))
            if seq < highest[client, stream]:
                _odd(result, messages[stream, seq].intended, "reordered", (client, stream, seq), recv)
                late.add((client, stream, seq))
            highest[client, stream] = max(highest[client, stream], seq)
    return late


def _count_disagreed(history: History, result: Reference, messages: Messages, wanted: Keys) -> None:
    """Each wanted first copy against all that came before it through its node."""
    came = sorted(history.deliveries, key=lambda delivery: delivery[0])
    order = _order_of_redis(history, messages, came)
    firsts: Keys = set()
    for at, (recv, _, seq, client, stream, node) in enumerate(came):
        key = (client, stream, seq)
        if key in firsts or key not in wanted or (stream, seq) not in order:
            continue
        firsts.add(key)
        before = [(s, q) for _, _, q, c, s, n in came[:at] if (c, n) == (client, node) and s != stream]
        if any(order.get(other, -1) > order[stream, seq] for other in before):
            _odd(result, messages[stream, seq].intended, "disagreed", key, recv)


def _order_of_redis(
    history: History, messages: Messages, came: list[tuple[int, int, int, int, int, int]]
) -> dict[tuple[int, int], int]:
    """By (stream, seq), its place in the order that all should share."""
    sequence = [(stream, seq) for _, _, seq, stream in history.witness or () if (stream, seq) in messages]
    if not sequence:
        had: Counter[tuple[int, int]] = Counter()
        seen: Keys = set()
        for _, _, seq, client, stream, node in came:
            if (stream, seq) in messages and client < history.clients and (client, stream, seq) not in seen:
                had[client, node] += 1
            seen.add((client, stream, seq))
        if not had:
            return {}
        best = min(had, key=lambda lane: (-had[lane], lane))
        sequence = [(s, q) for _, _, q, c, s, n in came if (c, n) == best and (s, q) in messages]
    order: dict[tuple[int, int], int] = {}
    for place, key in enumerate(sequence):
        order.setdefault(key, place)
    return order


def _wanted(message: Message, window: Asked, *, early: bool = False) -> bool:
    certainly_not = message.status in (Status.FAILED, Status.UNSENT)
    return not certainly_not and (early or message.done >= window.ask) and message.sent <= window.left


def _messages(history: History) -> dict[tuple[int, int], Message]:
    messages = {(stream, seq): Message(intended, intended, FOREVER, None) for intended, seq, stream in history.intents}
    for sent, done, seq, stream, status, _ in history.outcomes:
        messages[stream, seq] = Message(messages[stream, seq].intended, sent, done, Status(status))
    return messages


def windows(history: History) -> Windows:
    """What each client is owed of each stream; what a node that lagged had still to hand out is a part of it."""
    messages, by_channel = _messages(history), _asked(history)
    asked = {
        (client, stream): replace(window)
        for (client, of), window in by_channel.items()
        for stream, channel in enumerate(history.streams)
        if channel == of
    }
    since: dict[tuple[int, int], float] = {}
    for _, _, seq, client, stream, node in history.deliveries:
        message, window = messages.get((stream, seq)), asked.get((client, stream))
        if message is None or window is None or message.done >= window.ask or not _wanted(message, window, early=True):
            continue
        others = [
            recv
            for recv, _, q, c, s, n in history.deliveries
            if (q, s, n) == (seq, stream, node) and (c, s) in asked and _wanted(message, asked[c, s])
        ]
        if others and min(others) >= window.ask:
            since[client, stream] = min(message.done, since.get((client, stream), FOREVER))
    for pair, done in since.items():
        asked[pair].ask = done
    return asked


def _asked(history: History) -> dict[tuple[int, str], Asked]:
    found: dict[tuple[int, str], Asked] = {}
    for client in range(history.clients):
        events = [event for event in history.events if event.get("client") == client]
        events.sort(key=lambda event: event["t"])
        left = next((event["t"] for event in events if event["ev"] == "left"), FOREVER)
        events = [event for event in events if event["t"] <= left]
        opens = [event["t"] for event in events if event["ev"] == "open"]
        closes = [event["t"] for event in events if event["ev"] == "closed"]
        still_open = len(opens) > len(closes)
        for channel in history.channels:
            mine = [event for event in events if event.get("channel") == channel]
            asks = [event["t"] for event in mine if event["ev"] == "subscribing"]
            confirms = [event["t"] for event in mine if event["ev"] == "subscribed"]
            if not asks:
                continue
            confirm = confirms[0] if confirms else FOREVER
            gone = min(left, closes[-1]) if not confirms and not still_open else left
            held = max(asks) if still_open and max(asks) >= opens[-1] else FOREVER
            early = gone < ns(history.measure_ms)
            fade = gone - round(history.quiet_ms * 1_000_000) if early else gone
            found[client, channel] = Asked(asks[0], confirm, fade, gone, held)
    return found
