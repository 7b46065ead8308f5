"""Random histories, as nasty as journals can be made: for two checkers that must agree on all of them.

One seed decides everything. Lives that go by the table of moves, publishes of every outcome, deliveries of anything to
anybody in any order; written to several stripes in small frames; and then, sometimes, damaged.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from fanlab.ledger.records import DELIVERY, WITNESS, Status
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.rundir import RunDir
from support.histories import MS, History, abandon, ns

SEQS = 9
STRANGER = 99


def nasty_history(random: Random) -> History:
    """Anything that can happen to a few clients and messages, cut off in any way."""
    grid = random.choice((1, 1, 20, 50))  # ms: on a coarse one, things happen at one instant that never do otherwise
    channels = ("news", "jobs", "chat")[: random.choice((1, 1, 2, 2, 3))]
    history = History(
        clients=random.randint(1, 4),
        channels=channels,
        streams=tuple(random.choice(channels) for _ in range(random.randint(1, 4))),
        asked=random.choice((None, None, channels[:1], channels[-1:])),
        quiet_ms=random.choice((0, 20, 100, 400)),
        measure_ms=random.choice((1000, 1000, 300)),
        status=random.choice(("complete", "complete", "complete", "aborted", "failed", "running")),
        drain_ms=random.choice((500, 500, None)),
        drain_ended_by=random.choice(("quiet", "quiet", "quiet", "deadline", None)),
        close_stripes=random.random() < 0.75,
        heartbeat_ms=random.choice((None, on(grid, random.randint(-500, 1500)))),
    )
    if random.random() < 0.4:
        calm(history, random, grid)
        return history
    for stream in range(len(history.streams)):
        publish(history, stream, random, grid)
    for client in range(history.clients):
        live(history, client, random, grid)
    for client in range(history.clients):
        for stream in range(len(history.streams)):
            for seq in range(1, SEQS):
                receive(history, client, (stream, seq), random, grid)
    if random.random() < 0.4:
        strangers(history, random)
    if random.random() < 0.3:
        random.shuffle(history.deliveries)
    else:
        history.deliveries.sort()
    return history


def on(grid: int, at: float) -> int:
    """The nearest time of a grid."""
    return round(at / grid) * grid


def calm(history: History, random: Random, grid: int) -> None:
    """Nearly all is well: everybody is there and gets nearly everything in order, once. What is odd stands alone."""
    for client in range(history.clients):
        node = random.randrange(history.nodes)
        history.subscribe(client, node, at=-1500)
        if random.random() < 0.3:
            at = on(grid, random.randint(-800, 900))
            history.close(client, at, node).subscribe(client, random.randrange(history.nodes), at + grid, grid, grid)
    for seq in range(1, SEQS):
        for stream in range(len(history.streams)):
            history.publish(seq, on(grid, seq * 100 - 300) + stream, stream=stream)
    for intended, seq, stream in sorted(history.intents):
        for client in range(history.clients):
            for _ in range(random.choice((1,) * 30 + (0, 2))):
                late = random.choice((1, 1, 1, 1, 1, 1, on(grid, random.randint(0, 300))))
                history.deliver(
                    client, seq, (intended - ns(0)) / 1e6 + late, stream=stream, node=client % history.nodes
                )
    history.deliveries.sort(key=lambda delivery: delivery[0])


def publish(history: History, stream: int, random: Random, grid: int) -> None:
    """Up to SEQS numbers of a stream; some never used, some told of twice or only in part."""
    at = random.randint(-900, 500)
    for seq in range(random.choice((0, 1, 1, 1)), random.randint(1, SEQS)):
        if random.random() < 0.05:
            continue
        at = on(grid, random.choice((at, at + random.randint(0, 60), random.randint(-900, 999))))
        status = random.choice((Status.OK,) * 10 + (*Status, None))
        lag, took = on(grid, random.choice((0, 2, 25))), on(grid, random.randint(0, 90))
        history.publish(seq, at, stream=stream, status=status, lag=lag, took=took)
        if random.random() < 0.1:  # once more, with another end
            again, lag = random.choice((status or Status.OK, *Status)), on(grid, random.randint(0, 60))
            history.publish(seq, at - random.choice((0, 5)), stream=stream, status=again, lag=lag, took=took)
        if random.random() < 0.05:
            history.intents.pop()
        if status is not None and random.random() < 0.05:  # its publisher never came to send it
            *_, done, number, of, _, receivers = history.outcomes.pop()
            history.outcomes.append((0, done, number, of, random.choice(list(Status)), receivers))


def live(history: History, client: int, random: Random, grid: int) -> None:
    """A client's life of random length, by the table of moves; its events may tie."""
    at = random.choice((-1500, -1200, -1000, random.randint(-1500, 0), random.randint(-200, 1200)))  # there, or joins
    asked = tuple(history.asked or history.channels)
    state, unasked, waiting = "away", [], []
    for _ in range(random.randint(0, 22)):
        at = on(grid, at + random.choice((0, 0, 1, 7, 30, 150)))
        node = random.randrange(history.nodes)
        if state == "away":
            history.event(at, "connecting", client, node=node, attempt=0)
            state = "trying"
        elif state == "trying" and random.random() < 0.2:
            history.event(at, "failed", client, node=node, error="refused")
            state = "away"
        elif state == "trying":
            history.event(at, "open", client, node=node)
            state, unasked, waiting = "on", list(asked), []
        elif unasked and random.random() < 0.8:
            waiting.append(unasked.pop(random.randrange(len(unasked))))
            history.event(at, "subscribing", client, node=node, channel=waiting[-1])
        elif waiting and random.random() < 0.7:
            channel = random.choice(waiting)
            history.event(at, "subscribed", client, node=node, channel=channel)
            if random.random() < 0.9:  # else it may be told again
                waiting.remove(channel)
        elif random.random() < 0.5:
            history.close(client, at, node, own=random.random() < 0.25)
            state = "away"
    if random.random() < 0.3:
        at = on(grid, at + random.choice((0, 5, 300, 2000)))
        history.leave(client, at)
        if state == "on" and random.random() < 0.7:
            history.close(client, at + 1, 0, own=True)
        if random.random() < 0.2:  # what is journaled after that is not its own any more
            history.event(at + 2, "connecting", client, node=0, attempt=0).event(at + 3, "open", client, node=0)
            history.event(at + 3, "subscribed", client, node=0, channel=asked[0]).leave(client, at + grid)


def receive(history: History, client: int, message: tuple[int, int], random: Random, grid: int) -> None:
    """A message (stream, seq) comes to a client: mostly once and soon, sometimes never, late, early or often."""
    stream, seq = message
    sent = (history.intended_ns(seq, stream) - ns(0)) / 1e6
    for _ in range(random.choice((0, 1, 1, 1, 1, 1, 1, 2, 3))):
        late = random.choice((random.random(), 1, on(grid, random.randint(-20, 500))))
        history.deliver(client, seq, sent + late, stream=stream, node=random.randrange(history.nodes))


def strangers(history: History, random: Random) -> None:
    """What nobody asked for: no such client, stream or number, or a token that claims another time."""
    for _ in range(random.randint(1, 4)):
        client, seq = random.choice((0, 0, history.clients, STRANGER)), random.choice((0, 1, 5, 77, 2**32 - 1))
        stream = random.choice((0, len(history.streams), STRANGER))
        history.deliver(client, seq, random.randint(-900, 1500), stream=stream, node=random.choice((0, 2, 0xFFFF)))
        if random.random() < 0.3:
            recv, _, *rest = history.deliveries[-1]
            history.deliveries.append((recv + random.randint(0, 5), ns(random.randint(-900, 900)), *rest))


def write_nasty(history: History, path: Path, random: Random, *, damaged: bool) -> RunDir:
    """Write a history: clients' journals spread over stripes, some clients over two, in frames of any size."""
    wounded = random.random() < 0.5
    if wounded:
        wound(history, random)
    rundir = history.write(path, frame_records=random.randint(1, 5))
    (rundir.journal / "clients-0.stripe").unlink()
    stripes = random.randint(1, 3)
    restless = {client for client in range(history.clients) if random.random() < 0.15}  # its deliveries are anywhere

    moved = {client: (random.randrange(20), random.randrange(stripes)) for client in restless}  # after so many events

    def stripe_of(client: int) -> int:
        return random.randrange(stripes) if client in restless else client % stripes

    seen: Counter[int] = Counter()
    events = []
    for event in history.events:
        client = event.get("client", 0)
        after, other = moved.get(client, (len(history.events), 0))
        events.append((event["t"], 0, client % stripes if seen[client] < after else other, event))
        seen[client] += 1
    came = [(delivery[0], 1, stripe_of(delivery[3]), delivery) for delivery in history.deliveries]
    closed = [history.close_stripes or random.random() < 0.5 for _ in range(stripes)]
    for number in range(stripes):
        stripe = StripeWriter(rundir.journal / f"clients-{number}.stripe", {"role": "clients", "worker": number})
        mine = [one for one in [*events, *came] if one[2] == number]
        if wounded or random.random() < 0.5:  # an engine journals in time, and what is mended is put back by time
            mine.sort(key=lambda one: one[:2])
        write_stripe(stripe, mine, random)
        if history.heartbeat_ms is not None:
            stripe.heartbeat(ns(history.heartbeat_ms + random.choice((0, 50, 400))))
        stripe.close() if closed[number] else abandon(stripe)
    if random.random() < 0.6:
        testify(history, rundir, random)
    if damaged:
        damage(random.choice(sorted(rundir.journal.glob("*.stripe"))), random)
    return rundir


def wound(history: History, random: Random) -> None:
    """Some messages come with other bytes than those published: in the token, behind it, or beyond recognition."""
    for at in sorted(random.sample(range(len(history.deliveries)), len(history.deliveries) // 8), reverse=True):
        recv, _, seq, client, stream, node = history.deliveries[at]
        who = {"t": recv, "ev": "damaged", "client": client, "node": node}
        if random.random() < 0.25:
            history.events.append({**who, "stream": stream, "seq": seq})
            continue
        text = bytearray(random.randbytes(random.choice((0, 0, 0, 5))) + history.token(seq % 2**32, stream))
        text += b"filler of some length"[: random.randint(0, 21)]
        for _ in range(random.choice((1, 1, 1, 1, 2, 3, 0))):
            text[random.randrange(len(text))] = random.choice((*b"0123456789abcdefxF", random.randrange(256)))
        kept = bytes(text)[: random.choice((64, 64, 64, 46, 10))]
        history.events.append({**who, "bytes": kept.hex()})
        if random.random() < 0.9:  # else it came intact as well, at that very instant
            del history.deliveries[at]
    history.events.sort(key=lambda event: event["t"])


def testify(history: History, rundir: RunDir, random: Random) -> None:
    """A witness that had most messages, some of them twice or in another order, and some that nobody published."""
    sent = sorted(
        (sent, intended, seq, stream)
        for sent, intended, seq, stream in (
            (intended + random.randint(0, 2) * MS, intended, seq, stream) for intended, seq, stream in history.intents
        )
    )
    had = [one for one in sent for _ in range(random.choice((0, 1, 1, 1, 1, 1, 1, 2)))] if random.random() < 0.9 else []
    if random.random() < 0.3:
        random.shuffle(had)
    with StripeWriter(rundir.witness, {"role": "witness", "worker": 0}) as stripe:
        stripe.events([{"t": ns(-2000), "ev": "witness", "state": "up"}])
        while had:
            part, had = had[: random.randint(1, 6)], had[6:]
            stripe.write(Kind.WITNESS, b"".join(WITNESS.pack(*one, 0) for one in part))
        if random.random() < 0.2:
            stripe.write(Kind.WITNESS, WITNESS.pack(ns(0), ns(0), 77, STRANGER, 0))
        stripe.heartbeat(ns(1500))


def write_stripe(stripe: StripeWriter, entries: list[tuple], random: Random) -> None:
    """Runs of entries of one kind, each as one frame or several."""
    while entries:
        kind, size = entries[0][1], random.randint(1, 6)
        run = [entry for entry in entries[:size] if entry[1] == kind] if random.random() < 0.5 else entries[:1]
        entries = [entry for entry in entries if not any(entry is other for other in run)]
        if kind == 0:
            stripe.events([entry[3] for entry in run])
        else:
            stripe.write(Kind.DELIVERIES, b"".join(DELIVERY.pack(*entry[3], 100) for entry in run))


def damage(path: Path, random: Random) -> None:
    """Spoil a journal in one of the ways in which disks and deaths do."""
    raw = path.read_bytes()
    at = random.randrange(len(raw))
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: raw[:at],
        lambda: raw[:at] + bytes([raw[at] ^ 1 << random.randrange(8)]) + raw[at + 1 :],
        lambda: raw + raw[at:],
        lambda: raw + random.randbytes(random.randint(1, 40)),
    )
    path.write_bytes(random.choice(ways)())
