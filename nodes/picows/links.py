"""Clients' connections on picows, and the fan-out to them.

A Link is what ../websockets' Client is to the rest of the node, so that hub, heartbeat and slow-client policy are the
same. Less is done for each delivery: whether a link is open is a flag that its callbacks keep, not a question to the
protocol, and the frame's bytes go straight to the transport.
"""

import asyncio
import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from clients import NUMBER_HEADER, Fanout, Outcome, log, number_of, payload_frame
from multidict import CIMultiDict
from node import Node, headers_of
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, WSUpgradeResponse
from picows import WSUpgradeResponseWithListener as Answer
from web import Reply

PING_TEXT = b"hb"
MOST_PARTS = 128  # frames of one message: empty ones cost memory, too
_numbers = itertools.count(1)


class Link(WSListener):  # type: ignore[misc]
    """One client's connection. It notes when it last heard from its peer, for the heartbeat."""

    def __init__(self, node: "BroadNode", number: int | None) -> None:
        super().__init__()
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._parts: list[bytes] = []  # of a message that came in several frames
        self._size = 0
        self._parts_text = True
        self.id = f"link-{next(_numbers)}"
        self.number = number
        self.heard_s = self._loop.time()
        self.asked_s: float | None = None
        self.open = False  # a frame may be sent
        self._ws: Any = None
        self.transport: Any = None
        self.write: Any = None
        self.unsent: Any = None

    # picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is over."""
        self._ws, self.transport = transport, transport.underlying_transport
        self.write, self.unsent = self.transport.write, self.transport.get_write_buffer_size
        self.open = True
        self._node.joined(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Anything at all is a sign of life. Messages are put together; picows answers pings itself."""
        self.heard_s = self._loop.time()
        kind = frame.msg_type
        if kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._on_part(frame, kind)
        elif kind == WSMsgType.CLOSE:
            self.open = False
            if not transport.is_close_frame_sent:
                transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows calls so
        """It is over, however it ended."""
        self.open = False
        self._ended.set()
        self._node.left(self)

    def pause_writing(self) -> None:
        """The cap on unsent bytes decides, not the transport's mark."""

    def resume_writing(self) -> None:
        """See above."""

    def _on_part(self, frame: WSFrame, kind: WSMsgType) -> None:
        if kind != WSMsgType.CONTINUATION:
            self._parts_text = kind == WSMsgType.TEXT
        if not self.open:
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:  # no extension was agreed on
            self._end(WSCloseCode.PROTOCOL_ERROR)
            return
        self._parts.append(frame.get_payload_as_bytes())
        self._size += frame.payload_size
        if self._size > self._node.settings.max_message_bytes or len(self._parts) > MOST_PARTS:
            self._end(WSCloseCode.MESSAGE_TOO_BIG)
        elif frame.fin:
            whole = b"".join(self._parts)
            self._forget()
            try:
                message = whole.decode() if self._parts_text else whole
            except UnicodeDecodeError:
                self._end(WSCloseCode.INVALID_TEXT)
            else:
                self._node.heard(self, message)

    def _end(self, code: WSCloseCode) -> None:
        self.open = False
        self._forget()
        self._ws.send_close(code)
        self._ws.disconnect()

    def _forget(self) -> None:
        self._parts.clear()
        self._size = 0

    # the node

    @property
    def doomed(self) -> bool:
        """Whether it gets nothing more."""
        return not self.open

    @doomed.setter
    def doomed(self, doomed: bool) -> None:
        self.open = self.open and not doomed

    @property
    def writable(self) -> bool:
        """Whether a frame may still be sent."""
        return self.open and not self.transport.is_closing()

    @property
    def unsent_bytes(self) -> int:
        """What waits in this process for the client to read."""
        return 0 if self.transport is None or self.transport.is_closing() else int(self.unsent())

    def ask(self) -> None:
        """Send a ping."""
        if self.writable:
            self._ws.send_ping(PING_TEXT)

    async def close_within(self, timeout_s: float, code: int, reason: str) -> None:
        """Close in order, or abort: a peer that does not read never answers."""
        self.open = False
        if self._ws is None or self._ended.is_set():
            return
        if not self._ws.is_close_frame_sent:
            self._ws.send_close(WSCloseCode(code), reason)
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended.wait()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """End the connection now, whatever waits in its buffer."""
        self.open = False
        self._ws.disconnect(False)  # noqa: FBT003 - picows: graceful


class BroadFanout(Fanout):
    """Writes frames to links under the buffer cap."""

    def publish(self, members: Iterable[Any], payload: bytes) -> Outcome:
        """Hand a payload to all members."""
        outcome = Outcome()
        frame = payload_frame(payload)
        room, written = self._cap_bytes - len(frame), 0
        for link in members:
            if not link.open:
                outcome.drop("closing", link)
            elif link.unsent() > room:
                outcome.drop("slow", link)
                if self._close_slow:
                    self.close_slow(link)
            else:
                try:
                    link.write(frame)
                    written += 1
                except (OSError, RuntimeError) as failure:
                    log.warning("client=%s write failed: %s", link.id, failure)
                    outcome.drop("write_failed", link)
        outcome.written = written
        return outcome


class BroadNode(Node):
    """The reference node with other connections."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        limits = self.settings
        self._fanout = BroadFanout(limits.client_buffer_bytes, limits.slow_client, limits.close_timeout_s)

    def joined(self, link: Any) -> None:
        """A client has come."""
        self.clients.add(link)
        self.counters.connections += 1

    def heard(self, link: Any, message: str | bytes) -> None:
        """A client has said something."""
        self._on_frame(link, message)

    def left(self, link: Any) -> None:
        """A client has gone."""
        self.clients.discard(link)
        self.hub.drop(link, time.monotonic_ns())


@dataclass(frozen=True, slots=True)
class _Request:
    """What the node reads of a request."""

    path: str
    headers: Any


def welcome(node: BroadNode, request: WSUpgradeRequest) -> Link | Answer:
    """Plain HTTP is answered; a handshake that may go on gets a Link."""
    reply = node.reply(_Request(request.path.decode("latin-1"), request.headers))
    if reply is None:
        return Link(node, number_of(request.headers.get(NUMBER_HEADER)))
    return Answer(_response(reply), None)


def _response(reply: Reply) -> WSUpgradeResponse:
    response = WSUpgradeResponse()
    response.version, response.status, response.body = b"HTTP/1.1", reply.status, reply.body
    response.headers = CIMultiDict(headers_of(reply))
    return response
