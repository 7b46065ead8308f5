"""The client protocol `json`: what a client may say, and what it is answered. Pure; see ../PROTOCOL.md."""

import json
from dataclasses import dataclass
from typing import Literal

_SHOWN = 60


class CommandError(ValueError):
    """A frame that is no command; its text is the reason that the client is given."""


@dataclass(frozen=True, slots=True)
class Command:
    """Subscribe to channels, or leave them. Duplicates are gone, the order is the client's."""

    verb: Literal["subscribe", "unsubscribe"]
    channels: tuple[str, ...]


def parse(frame: str | bytes, *, max_channels: int, max_channel_bytes: int) -> Command:
    """Read a frame; raises CommandError with a reason for everything that is not exactly a command."""
    if not isinstance(frame, str):
        raise CommandError("send text frames: binary ones hold no command")
    try:
        data = json.loads(frame)
    except (ValueError, RecursionError):
        raise CommandError("this is no JSON") from None
    if not isinstance(data, dict):
        raise CommandError('send a JSON object, as {"type":"subscribe","channels":["news"]}')
    verb: object = data.get("type")
    if verb != "subscribe" and verb != "unsubscribe":  # noqa: PLR1714 - written out, a type checker understands it
        raise CommandError(f"type must be subscribe or unsubscribe, not {_shown(verb)}")
    channels = data.get("channels")
    if not isinstance(channels, list) or not channels:
        raise CommandError("channels must be a list of at least one name")
    check_count(len(channels), max_channels)
    for channel in channels:
        _check_channel(channel, max_channel_bytes)
    return Command(verb, tuple(dict.fromkeys(channels)))


def check_count(channels: int, limit: int) -> None:
    """Raise CommandError if these are too many channels for one client."""
    if channels > limit:
        raise CommandError(f"too many channels: {channels}; at most {limit}")


def answer(kind: Literal["subscribed", "unsubscribed"], channel: str) -> bytes:
    """The frame that says that a channel is subscribed, or left."""
    return _frame({"type": kind, "channel": channel})


def error(reason: str, channel: str | None = None) -> bytes:
    """The frame that says what went wrong."""
    return _frame({"type": "error", "reason": reason} | ({} if channel is None else {"channel": channel}))


def _check_channel(channel: object, max_bytes: int) -> None:
    if not isinstance(channel, str) or not channel:
        raise CommandError(f"a channel must be a name, not {_shown(channel)}")
    try:
        size = len(channel.encode())
    except UnicodeEncodeError:
        raise CommandError(f"a channel must be Unicode text, not {_shown(channel)}") from None
    if size > max_bytes:
        raise CommandError(f"channel name too long: {size} bytes; at most {max_bytes}")


def _frame(data: dict[str, str]) -> bytes:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
