"""The node itself: ties clients, channels, Redis, cache and journal together."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import commands
from cache import Cache
from clients import GOING_AWAY, NUMBER_HEADER, Client, Fanout, number_of
from heartbeat import Heartbeat
from hub import Confirmed, Gap, Hub
from journal import Gathered, mark_of
from metrics import CONTENT_TYPE, Counters, Metric, render
from settings import Settings
from upstream import Upstream
from web import Gate, Page, Reply, json_reply, route, text_reply
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

WEBSOCKET_PATH = "/ws"

log = logging.getLogger("node")


class Asked(Protocol):
    """What is read of a request, whichever library parsed it."""

    path: str  # with its query
    headers: Any  # `get(name)`, whatever the case of its letters


class Node:
    """One node. Runs on one event loop; nothing here blocks."""

    def __init__(self, settings: Settings, journal: Gathered) -> None:
        self.settings = settings
        self.journal = journal
        self.counters = Counters()
        self.clients: set[Client] = set()
        self.stopping = False
        self.cache = Cache(settings.cache_entries, settings.cache_entry_bytes, _utc_now)
        self.upstream = Upstream(settings, journal, self._on_message, self._on_confirmed, self._on_refused)
        self.hub: Hub[Client] = Hub(self.upstream.send, self._on_gap)
        self._fanout = Fanout(settings.client_buffer_bytes, settings.slow_client, settings.close_timeout_s)
        self._gate = Gate(settings.auth_token, settings.allowed_origins)
        self._page = Page(Path(__file__).with_name("page.html"))
        if settings.cache_channel is not None:
            self.hub.pin(settings.cache_channel)

    # --- Redis -> clients

    def _on_message(self, name: str, payload: bytes, received_ns: int) -> None:
        channel = self.hub.get(name)
        if channel is None:
            return
        mark = mark_of(payload)
        outcome = self._fanout.publish(channel.members, payload)
        self.journal.message(received_ns, channel.name_json, mark, outcome.written, time.monotonic_ns())
        for why, clients in outcome.dropped.items():
            who = [client.number for client in clients if client.number is not None]
            self.journal.drop(received_ns, channel.name_json, mark, len(clients), why, who=who)
            self.counters.add_drops(why, len(clients))
        self.counters.messages += 1
        self.counters.deliveries += outcome.written
        if name == self.settings.cache_channel and (key := self.cache.refresh(payload)) is not None:
            self.journal.cached(time.monotonic_ns(), channel.name_json, mark, key)

    def _on_confirmed(self, confirmed: Confirmed[Client]) -> None:
        for client in confirmed.tell:
            self._fanout.tell(client, commands.answer("subscribed", confirmed.channel))

    def _on_refused(self, refused: Confirmed[Client], reason: str) -> None:
        log.warning("redis refused channel=%s: %s", refused.channel, reason)
        for client in refused.tell:
            self._fanout.tell(client, commands.error(f"Redis refused: {reason}", refused.channel))

    def _on_gap(self, gap: Gap) -> None:
        self.counters.gaps += 1
        log.warning("gap channel=%s of at most %.3f s", gap.channel, (gap.to_ns - gap.from_ns) / 1e9)
        fields: dict[str, str | int] = {"ch": gap.channel, "from": gap.from_ns, "to": gap.to_ns}
        self.journal.event(gap.to_ns, "gap", **fields)
        if gap.channel == self.settings.cache_channel:
            self.cache.missed()

    # --- clients -> node

    async def serve(self, connection: ServerConnection) -> None:
        """Handle one client until its connection ends."""
        if not isinstance(connection, Client):
            raise TypeError("serve() needs create_connection=Client")
        client = connection
        if client.request is not None:
            client.number = number_of(client.request.headers.get(NUMBER_HEADER))
        self.clients.add(client)
        self.counters.connections += 1
        try:
            async for frame in client:
                self._on_frame(client, frame)
        except ConnectionClosed as closed:
            log.debug("client=%s closed: %s", client.id, closed)
        finally:
            self.clients.discard(client)
            self.hub.drop(client, time.monotonic_ns())

    def _on_frame(self, client: Client, frame: str | bytes) -> None:
        limits = self.settings
        try:
            command = commands.parse(
                frame, max_channels=limits.max_channels, max_channel_bytes=limits.max_channel_bytes
            )
            if command.verb == "subscribe":
                total = self.hub.count(client) + self.hub.new_names(client, command.channels)
                commands.check_count(total, limits.max_channels)
        except commands.CommandError as bad:
            self.counters.bad_commands += 1
            self._fanout.tell(client, commands.error(str(bad)))
            return
        for channel in command.channels:
            if command.verb == "subscribe":
                if self.hub.subscribe(client, channel):
                    self._fanout.tell(client, commands.answer("subscribed", channel))
            else:
                self.hub.unsubscribe(client, channel, time.monotonic_ns())
                self._fanout.tell(client, commands.answer("unsubscribed", channel))

    async def watch_clients(self) -> None:
        """Ping quiet clients and abort dead ones, for ever; cancel to end."""
        loop = asyncio.get_running_loop()
        heartbeat: Heartbeat[Client] = Heartbeat(
            self.settings.heartbeat_interval_s, self.settings.heartbeat_timeout_s, loop.time()
        )
        while True:
            await asyncio.sleep(heartbeat.tick_s)
            sweep = heartbeat.sweep(loop.time(), self.clients)
            for client in sweep.ask:
                client.ask()
            for client in sweep.dead:
                self.counters.dead += 1
                log.warning("client=%s dead: no answer to a ping", client.id)
                client.abort()

    async def stop(self) -> None:
        """Get not ready, then close every client with 1001; those that do not answer are aborted."""
        self.stopping = True
        timeout_s = self.settings.close_timeout_s
        await asyncio.gather(*(client.close_within(timeout_s, GOING_AWAY, "going away") for client in self.clients))

    # --- HTTP

    def process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer plain HTTP; None lets a WebSocket handshake go on."""
        reply = self.reply(request)
        return None if reply is None else _response(connection, reply)

    def reply(self, request: Asked) -> Reply | None:
        """The answer to a request; None for a WebSocket handshake that may go on."""
        path = request.path.partition("?")[0]
        if path == WEBSOCKET_PATH:
            return self._admit(request)
        if path.startswith("/cache") and not self._token_ok(request):
            return text_reply(HTTPStatus.UNAUTHORIZED, "token missing or wrong")
        return route(
            request.path,
            {
                "/": lambda _: self._page.reply(),
                "/livez": lambda _: text_reply(HTTPStatus.OK, "alive"),
                "/readyz": lambda _: self._ready(),
                "/metrics": lambda _: Reply(HTTPStatus.OK, self._metrics().encode(), CONTENT_TYPE),
                "/cache": lambda _: json_reply({"channel": self.settings.cache_channel, **self.cache.as_dict()}),
                "/cache/": self._cached,
            },
        )

    def not_ready(self) -> str | None:
        """Why this node cannot serve now, or None."""
        if self.stopping:
            return "stopping"
        if not self.upstream.up:
            return f"no Redis: {self.upstream.trouble}"
        return None if self.hub.pinned_live else f"not subscribed to {self.settings.cache_channel} yet"

    def _admit(self, request: Asked) -> Reply | None:
        if self.stopping:
            return text_reply(HTTPStatus.SERVICE_UNAVAILABLE, "stopping")
        if not self._gate.origin_ok(request.headers.get("Origin"), request.headers.get("Host")):
            self.counters.add_refused("origin")
            return text_reply(HTTPStatus.FORBIDDEN, "pages of this origin may not connect; see ALLOWED_ORIGINS")
        if not self._token_ok(request):
            self.counters.add_refused("token")
            return text_reply(HTTPStatus.UNAUTHORIZED, "token missing or wrong")
        return None

    def _token_ok(self, request: Asked) -> bool:
        return self._gate.token_ok(request.path, request.headers.get("Authorization"))

    def _ready(self) -> Reply:
        reason = self.not_ready()
        return text_reply(HTTPStatus.OK, "ready") if reason is None else _unavailable(reason)

    def _cached(self, key: str) -> Reply:
        entry = self.cache.get(key)
        return json_reply(entry) if entry else json_reply({"error": "not in the cache"}, HTTPStatus.NOT_FOUND)

    def _metrics(self) -> str:
        counters, unsent = self.counters, [client.unsent_bytes for client in self.clients]
        return render(
            (
                Metric("node_clients", "gauge", "Open WebSocket connections.", {"": len(self.clients)}),
                Metric("node_connections_total", "counter", "Connections opened.", {"": counters.connections}),
                Metric("node_refused_total", "counter", "Connections refused.", counters.refused, "reason"),
                Metric("node_channels", "gauge", "Channels in use.", {"": sum(1 for _ in self.hub)}),
                Metric("node_messages_total", "counter", "Messages from Redis.", {"": counters.messages}),
                Metric("node_deliveries_total", "counter", "Frames handed to clients.", {"": counters.deliveries}),
                Metric("node_drops_total", "counter", "Frames not handed to clients.", counters.drops, "why"),
                Metric("node_slow_closed_total", "counter", "Clients closed as slow.", {"": self._fanout.slow_closed}),
                Metric("node_dead_clients_total", "counter", "Clients that answered no ping.", {"": counters.dead}),
                Metric(
                    "node_bad_commands_total", "counter", "Frames that were no command.", {"": counters.bad_commands}
                ),
                Metric("node_unsent_bytes", "gauge", "Waiting for clients to read, all.", {"": sum(unsent)}),
                Metric("node_unsent_bytes_max", "gauge", "The same, worst client.", {"": max(unsent, default=0)}),
                Metric("node_redis_up", "gauge", "1 while connected to Redis.", {"": float(self.upstream.up)}),
                Metric("node_redis_sessions_total", "counter", "Connections to Redis.", {"": self.upstream.sessions}),
                Metric("node_gaps_total", "counter", "Gaps in channels, by resubscribing.", {"": counters.gaps}),
                Metric("node_cache_entries", "gauge", "Objects in the cache.", {"": len(self.cache)}),
                Metric("node_cache_refreshed_total", "counter", "Cache refreshes.", {"": self.cache.refreshed}),
                Metric("node_journal_errors_total", "counter", "Failed journal writes.", {"": self.journal.errors}),
                Metric("node_journal_lost_total", "counter", "Lost journal lines.", {"": self.journal.lines_dropped}),
            )
        )


def _unavailable(reason: str) -> Reply:
    return text_reply(HTTPStatus.SERVICE_UNAVAILABLE, " ".join(reason.split()))


def _response(connection: ServerConnection, reply: Reply) -> Response:
    headers = Headers({"Content-Length": str(len(reply.body)), "Connection": "close", **headers_of(reply)})
    response = connection.respond(reply.status, "")
    return Response(response.status_code, response.reason_phrase, headers, reply.body)


def headers_of(reply: Reply) -> dict[str, str]:
    """The headers of a response, but for those that say how it is sent."""
    return {
        "Date": formatdate(usegmt=True),
        "Content-Type": reply.content_type,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **(reply.headers or {}),
    }


def _utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
