"""The clients engine: asyncio on uvloop, WebSockets by picows, one `Subscriber` per client, one stripe for them all.

Per frame it does what must be done at once (stamp, find the token, pack a record) and leaves the rest to a flush every
50 ms, which writes events, deliveries and a heartbeat, in that order.
"""

import asyncio
import contextlib
import errno
import gc
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from picows import WSError, WSMsgType, ws_connect

from fanlab.clock import NS_PER_S, now_ns
from fanlab.ledger.events import ClientEvent
from fanlab.ledger.stripe import StripeWriter
from fanlab.load.census import Census
from fanlab.load.clientlink import GOODBYE_S, Link
from fanlab.load.config import LoadConfig, NodeTarget
from fanlab.load.intact import FrameReader
from fanlab.load.payload import payloads
from fanlab.load.probe import Probes
from fanlab.load.protocols import protocol
from fanlab.load.receiving import DeliveryBuffer, TokenReader
from fanlab.load.sources import source_of
from fanlab.load.stamped import StampedLoop
from fanlab.load.stamps import StampClock
from fanlab.load.subscriber import Close, Connect, Outcome, Send, State, Subscriber, Wait
from fanlab.load.wire import Message
from fanlab.redaction import Secrets, hide_urls

HANDSHAKE_S = 5.0
CONNECT_S = 10.0  # TCP and handshake together: picows ends its own handshake wait before this one
READ_BUFFER_BYTES = 2048  # picows' least; it doubles when a frame needs more, and its usual 16 kB outweighed all else
FREEZE_EVERY = 200  # clients that come before publishing begins


class Server(NamedTuple):
    """What a node's connections ask for by name, where its URL has an address."""

    headers: dict[str, str]
    options: dict[str, Any]  # of create_connection

    @classmethod
    def of(cls, node: NodeTarget) -> "Server":
        """Those of one node."""
        if node.server is None:
            return cls({}, {})
        secure = node.url.startswith("wss:")
        return cls({"Host": node.server}, {"server_hostname": urlsplit(f"//{node.server}").hostname} if secure else {})


class ClientsEngine:
    """All clients of one process. Call `flush` and `snapshot` from a timer; `finish` once."""

    def __init__(
        self, config: LoadConfig, stripe: StripeWriter, loop: asyncio.AbstractEventLoop, allowed: int = 1_000_000
    ) -> None:
        """`allowed` is how many clients this process has file descriptors for."""
        self.config = config
        self.allowed = allowed
        self.loop = loop
        self.reader = TokenReader(config.run_tag, config.stream_count)
        self.foreign = 0  # messages of another run
        self.damaged = 0  # messages whose token cannot be read
        self.buffer = DeliveryBuffer(stripe, config.stream_channels(), len(config.channels))
        self.clock = loop.clock if isinstance(loop, StampedLoop) else StampClock()
        bulk = loop.bulk if isinstance(loop, StampedLoop) else None
        if bulk is None:
            self.frames = FrameReader(self.reader, payloads(config))
        else:
            bulk.write_to(self.buffer)
            self.frames = FrameReader(self.reader, payloads(config), teach=bulk.learn)
        self.probes = Probes(config, self.reader, loop, self.clock)
        self._stripe = stripe
        self._hide = Secrets(config.secrets).hide
        self._events: list[ClientEvent] = []
        self._protocols = [protocol(node.protocol) for node in config.nodes]
        self._servers = [Server.of(node) for node in config.nodes]
        self._starts = [group.first_client for group in config.clients]
        self._subscribers: dict[int, Subscriber] = {}
        self._census = Census(self.probes.group)
        self._links: dict[int, Link] = {}
        self._opening: Counter[int] = Counter()  # connections by node, open or opening
        self._error: str | None = None  # why a connection or a subscription was refused the last time that one was
        self._refused: Counter[str] = Counter()  # how often and why, since the last batch
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()  # no connection is open or opening
        self._idle.set()
        self.coming = True  # until publishing begins: clients come, and hardly any goes

    def command(self, message: Message) -> None:
        """An order of the Locust worker: a client comes or goes."""
        match message["op"]:
            case "connect":
                self._begin(int(message["client"]))
            case "leave":
                self._leave(int(message["client"]))
            case "epoch":
                gc.freeze()  # 10 k clients are here to stay: do not walk over them again and again
                self.coming = False

    def tick(self) -> None:
        """Some milliseconds have passed."""
        if isinstance(self.loop, StampedLoop):
            self.loop.tick()
        else:
            self.clock.tick()
        self.probes.turn()

    def record(self, event: ClientEvent) -> None:
        """Journal an event with the next flush."""
        self._events.append(event)

    def flush(self) -> None:
        """Write what happened so far. Raises OSError (a full disk)."""
        t_ns = now_ns()
        events, self._events = self._events, []
        self._stripe.events(events)
        self.buffer.flush()
        # Times of deliveries are the kernel's: what it has since the loop last looked may be older than now.
        self._stripe.heartbeat(min(t_ns, self.clock.looked_before_ns))

    def apply(self, link: Link | None, outcome: Outcome, subscriber: Subscriber | None = None) -> None:
        """Journal and do what a subscriber answered."""
        self._events.extend(outcome.events)
        who = link.subscriber if link is not None else subscriber
        if who is not None:
            self._census.see(who, outcome)
        for action in outcome.actions:
            match action:
                case Connect() if who is not None:
                    self._opening[who.node] += 1
                    task = self.loop.create_task(self._connect(who))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                case Send(text) if link is not None and link.transport is not None:
                    link.transport.send(WSMsgType.TEXT, text)
                case Wait(delay_ns) if who is not None:
                    self.loop.call_later(delay_ns / NS_PER_S, self._retry, who)
                case Close() if link is not None:
                    link.close()

    def other(self, link: Link, t_ns: int, payload: bytes) -> None:
        """A frame that does not hold exactly one intact message: the node's own, several messages, or damage."""
        found = self.frames.read(payload)
        if not found.messages:
            outcome, spoken = link.subscriber.frame(t_ns, payload), self._protocols[link.node]
            self.apply(link, outcome)
            if not outcome.events and (refusal := spoken.refusal(payload)) is not None:
                self._error = f"{self._name(link.node)} refused what was asked of it: {self._hide(refusal)[:200]}"
            if spoken.answers(payload):
                return  # what looks like a token in it is a channel's name
        self.foreign += found.foreign
        self.damaged += len(found.damaged)
        who: ClientEvent = {"t": t_ns, "ev": "damaged", "client": link.client, "node": link.node}
        for token, intact in found.messages:
            self.buffer.add(t_ns, token, link.client, link.node)
            if not intact:
                self._events.append({**who, "stream": token.stream, "seq": token.seq})
        self._events.extend({**who, "bytes": damaged.hex()} for damaged in found.damaged)

    def gone(self, link: Link, code: int, reason: str) -> None:
        """A connection that was open has ended."""
        self._forget(link)
        self.apply(link, link.subscriber.lost(now_ns(), code, self._hide(reason)))

    def counts(self) -> Message:
        """Totals so far, for the live view."""
        census = self._census
        self.probes.serve(census.served)
        return {
            "ev": "counts",
            "t": now_ns(),
            "clients": census.clients,
            "connected": census.connected,
            "reconnecting": census.reconnecting,
            "deliveries": self.buffer.count,
            "last_delivery_ns": self.buffer.last_recv_ns,
            "entitled": dict(census.entitled),
            "foreign": self.foreign,
            "damaged": self.damaged,
            "error": self._error,
        }

    def batches(self) -> Message:
        """What happened since the last call: latencies by channel, connections refused by reason."""
        taken = zip(self.config.channels, (histogram.take() for histogram in self.buffer.histograms), strict=True)
        deliver = {channel: batch.to_json() for channel, batch in taken if batch is not None}
        refused, self._refused = dict(self._refused), Counter()
        return {"ev": "batch", "deliver": deliver, "refused": refused}

    @property
    def missed(self) -> int:
        """Messages that came and were another run's. Damaged ones have an event each."""
        return self.foreign

    async def finish(self) -> Mapping[str, Any]:
        """All clients leave; connections that do not end are cut. Returns the footer of the stripe."""
        self.probes.close()
        for client in list(self._subscribers):
            self._leave(client)
        await self._all_gone(GOODBYE_S)
        for link in list(self._links.values()):
            link.abort("it did not answer our close frame")
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._all_gone(GOODBYE_S)
        self.flush()
        return {
            "deliveries": self.buffer.count,
            "foreign": self.foreign,
            "damaged": self.damaged,
            "clients": len(self._subscribers),
        }

    def _begin(self, client: int) -> None:
        if len(self._subscribers) >= self.allowed:
            hint = "raise `ulimit -n`, or spread the clients with --workers"
            raise OSError(errno.EMFILE, f"this process may hold no more than {self.allowed} connections; {hint}")
        group = self.config.clients[bisect_right(self._starts, client) - 1]
        subscriber = Subscriber(client, group, self._protocols, self.config.seed, self._opening)
        self._subscribers[client] = subscriber
        if self.coming and len(self._subscribers) % FREEZE_EVERY == 0:
            gc.freeze()  # else each quarter more of them is a walk over all
        self.probes.begun(client)
        self.apply(None, subscriber.start(now_ns()), subscriber)

    def _leave(self, client: int) -> None:
        subscriber = self._subscribers.get(client)
        if subscriber is not None:
            self.apply(self._links.get(client), subscriber.leave(now_ns()), subscriber)

    def _retry(self, subscriber: Subscriber) -> None:
        if subscriber.state is State.BACKING_OFF:  # else it left meanwhile
            self.apply(None, subscriber.retry(now_ns()), subscriber)

    async def _connect(self, subscriber: Subscriber) -> None:
        link = Link(self, subscriber)
        self._links[link.client] = link
        self._idle.clear()
        server, url = self._servers[link.node], self.config.nodes[link.node].url
        source = source_of(url, link.client)
        try:
            async with asyncio.timeout(CONNECT_S):
                await ws_connect(
                    lambda: link,
                    url,
                    websocket_handshake_timeout=HANDSHAKE_S,
                    max_redirects=0,
                    use_aiofastnet=False,  # the loop's own connections: they are stamped
                    read_buffer_init_size=READ_BUFFER_BYTES,
                    extra_headers={"Fanlab-Client": str(link.client), **server.headers},  # `who` of a node's drop lines
                    local_addr=source and (source, 0),
                    **server.options,
                )
            error = "the node closed the connection during the handshake"
        except (OSError, TimeoutError, WSError) as problem:
            error = self._hide(f"{type(problem).__name__}: {problem}")[:200]
        except asyncio.CancelledError:
            error = "given up: the run is over"
        if link.transport is None:
            self._forget(link)
            self._error = f"{self._name(link.node)}: {error}"
            self._refused[self._error] += 1
            self.apply(link, subscriber.refused(now_ns(), error))

    def _name(self, node: int) -> str:
        return hide_urls(self.config.nodes[node].name)

    def _forget(self, link: Link) -> None:
        self._opening[link.node] -= 1
        self._links.pop(link.client, None)
        if not self._links:
            self._idle.set()

    async def _all_gone(self, deadline_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._idle.wait()
