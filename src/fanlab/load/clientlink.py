"""One WebSocket connection of one client: what comes is stamped and handed on, and a peer that is silent is asked."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from fanlab.clock import NS_PER_S, now_ns
from fanlab.ledger.events import NO_ANSWER
from fanlab.load.stamped import StampedTransport
from fanlab.load.subscriber import Subscriber

if TYPE_CHECKING:
    from fanlab.load.clients import ClientsEngine

GOODBYE_S = 2.0  # for the peer's close frame, after ours
PING_GRACE_S = 0.25  # a generator that was stalled itself reads what has come before it judges
ABNORMAL = 1006

_CLOSE = WSMsgType.CLOSE
_DATA = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION)


class Link(WSListener):
    """One connection of one client."""

    def __init__(self, engine: "ClientsEngine", subscriber: Subscriber) -> None:
        self.engine = engine
        self.subscriber = subscriber
        self.client = subscriber.client
        self.node = subscriber.node
        self.transport: WSTransport | None = None
        self._heard = True  # something came since the last ping
        self._taken = 0  # whole reads when that was sent
        self.verdict: str | None = None  # why the engine itself ended the connection
        self._parts: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._arrived: Callable[[], int] = now_ns  # when what is being handed over came
        self._stamped: StampedTransport | None = None
        self._one = engine.frames.one
        self._known = engine.frames.known.get
        self._tokens = engine.frames.whole
        self._add = engine.buffer.add

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self.transport = transport
        if isinstance(transport.underlying_transport, StampedTransport):
            self._stamped = transport.underlying_transport
            self._stamped.take_whole(self._whole, self.client, self.node)
            self._arrived = self._stamped.arrived_ns
        self._arm(self.subscriber.group.ping_interval_ns, self._ping)
        self.engine.apply(self, self.subscriber.opened(now_ns()))

    def _whole(self, read: bytes, recv_ns: int) -> int:
        """The hot path where nothing is compiled, and what compiled code does not know yet."""
        token = self._known(read)
        if token is not None:
            self._add(recv_ns, token, self.client, self.node)
            return 1
        tokens = self._tokens(read)
        for later_ns, token in enumerate(tokens):  # no two have the same time, so that times tell their order
            self._add(recv_ns + later_ns, token, self.client, self.node)
        return len(tokens)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """What has not come just like this before."""
        recv_ns = self._arrived()
        self._heard = True
        kind = frame.msg_type
        if self._stamped is not None:
            whole = frame.fin and (kind in _DATA or not self._parts)
            self._stamped.between = bool(whole) and frame.tail_size == 0
        if kind in _DATA:
            payload = frame.get_payload_as_bytes()
            if not frame.fin or self._parts:
                self._parts.append(payload)
                if not frame.fin:
                    return
                payload = b"".join(self._parts)
                self._parts = []
            token = self._one(payload)
            if token is not None:
                self._add(recv_ns, token, self.client, self.node)
            else:
                self.engine.other(self, recv_ns, payload)
        elif kind == _CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone, for whatever reason."""
        if self._timer is not None:
            self._timer.cancel()
        if self.transport is None:
            return  # it never was open: the connecting task will say so
        code, reason = ABNORMAL, self.verdict or ""
        closing = transport.close_handshake
        if closing is not None and closing.recv is not None:
            code, reason = int(cast("int", closing.recv.code)), str(closing.recv.reason or "")
        self.engine.gone(self, code, reason)

    def pause_writing(self) -> None:
        """Subscribe frames and pings are all that is written; nothing to hold back."""

    def resume_writing(self) -> None:
        """See pause_writing."""

    def close(self) -> None:
        """Say goodbye, and end the connection when the peer does not."""
        if self.transport is not None:
            self.transport.send_close(WSCloseCode.OK)
            self.engine.loop.call_later(GOODBYE_S, self.transport.disconnect, False)  # noqa: FBT003 - picows: graceful

    def abort(self, why: str) -> None:
        """End the connection without asking the peer."""
        self.verdict = why
        if self.transport is not None:
            self.transport.disconnect(False)  # noqa: FBT003 - picows: graceful

    def _arm(self, delay_ns: int, then: Callable[[], None]) -> None:
        self._timer = self.engine.loop.call_later(delay_ns / NS_PER_S, then)

    @property
    def heard(self) -> bool:
        """Whether something came since the last ping."""
        return self._heard or (self._stamped is not None and self._stamped.taken != self._taken)

    def _ping(self) -> None:
        self._heard = False
        if self._stamped is not None:
            self._taken = self._stamped.taken
        if self.transport is not None:
            self.transport.send_ping()
            self._arm(self.subscriber.group.ping_timeout_ns, self._overdue)

    def _overdue(self) -> None:
        if self.heard:
            self._arm(self.subscriber.group.ping_interval_ns, self._ping)
        else:
            self._arm(round(PING_GRACE_S * NS_PER_S), self._judge)

    def _judge(self) -> None:
        if self.heard:
            self._arm(self.subscriber.group.ping_interval_ns, self._ping)
        else:
            timeout_s = self.subscriber.group.ping_timeout_ns / NS_PER_S
            self.abort(f"{NO_ANSWER} within {timeout_s:g} s")
