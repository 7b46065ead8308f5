"""The reference node's client protocol: JSON text frames, see nodes/PROTOCOL.md.

Client: {"type": "subscribe", "channels": ["news"]}. Node, once it holds: {"type": "subscribed", "channel": "news"}.
What it will not do it answers by {"type": "error", "reason": "too many"}. Published messages arrive as they are.
"""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any


class JsonProtocol:
    """One subscribe frame for all channels, one confirmation per channel."""

    def subscribe(self, channels: Sequence[str]) -> Sequence[bytes]:
        """The text frames that ask for these channels."""
        return _subscribe(tuple(channels))

    def confirmed(self, frame: bytes) -> Iterable[str]:
        """The channels that this frame confirms; none if it says something else or cannot be read."""
        message = _answer(frame)
        channel = message.get("channel") if message.get("type") == "subscribed" else None
        return (channel,) if isinstance(channel, str) else ()

    def refusal(self, frame: bytes) -> str | None:
        """Why the server did not do what it was asked to, in its own words; None if the frame says something else."""
        answer = _answer(frame)
        return str(answer.get("reason", "no reason given")) if answer.get("type") == "error" else None

    def answers(self, frame: bytes) -> bool:
        """Whether this frame is a JSON object with a `type`: all that a node says for itself is."""
        return isinstance(_answer(frame).get("type"), str)


@lru_cache  # thousands of clients ask for the same ones
def _subscribe(channels: tuple[str, ...]) -> tuple[bytes]:
    return (json.dumps({"type": "subscribe", "channels": channels}).encode(),)


def _answer(frame: bytes) -> dict[str, Any]:
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
