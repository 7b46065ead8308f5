"""The reference node's client protocol: JSON text frames, see nodes/PROTOCOL.md.

Client: {"type": "subscribe", "channels": ["news"]}. Node, once it holds: {"type": "subscribed", "channel": "news"}.
Published messages arrive as they are.
"""

import json
from collections.abc import Iterable, Sequence


class JsonProtocol:
    """One subscribe frame for all channels, one confirmation per channel."""

    def subscribe(self, channels: Sequence[str]) -> Sequence[bytes]:
        """The text frames that ask for these channels."""
        return [json.dumps({"type": "subscribe", "channels": list(channels)}).encode()]

    def confirmed(self, frame: bytes) -> Iterable[str]:
        """The channels that this frame confirms; none if it says something else or cannot be read."""
        try:
            message = json.loads(frame)
        except ValueError:
            return ()
        if not isinstance(message, dict) or message.get("type") != "subscribed":
            return ()
        channel = message.get("channel")
        return (channel,) if isinstance(channel, str) else ()
