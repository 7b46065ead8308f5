"""What the environment says about this node, checked once, at the start."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

REDIS_SCHEMES = ("redis", "rediss", "unix")
SLOW_CLIENT_POLICIES = ("close", "drop-newest")


class SettingError(ValueError):
    """A setting that cannot be used: which one, what it says, what would be right."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One node's settings. The names of their variables, and what they mean, stand in README.md."""

    host: str
    port: int
    redis_url: str
    node_id: str
    journal: Path | None
    client_buffer_bytes: int
    slow_client: str
    heartbeat_interval_s: float
    heartbeat_timeout_s: float
    redis_retry_s: float
    redis_retry_max_s: float
    redis_ping_s: float
    redis_timeout_s: float
    auth_token: str | None
    allowed_origins: frozenset[str]
    cache_channel: str | None
    cache_entries: int
    cache_entry_bytes: int
    max_channels: int
    max_channel_bytes: int
    max_message_bytes: int
    close_timeout_s: float


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read the settings; raises SettingError with one sentence about the first that is wrong."""
    host = _text(environ, "FANLAB_HOST", "127.0.0.1")
    redis_url = _text(environ, "FANLAB_REDIS_URL", "redis://127.0.0.1:6379/0")
    if urlsplit(redis_url).scheme not in REDIS_SCHEMES:
        raise SettingError(f"FANLAB_REDIS_URL={redis_url!r} is no Redis URL; write redis://host:port/0")
    journal = environ.get("FANLAB_JOURNAL", "").strip()
    slow_client = _text(environ, "SLOW_CLIENT", "close")
    if slow_client not in SLOW_CLIENT_POLICIES:
        raise SettingError(f"SLOW_CLIENT={slow_client!r} is no policy; write one of {', '.join(SLOW_CLIENT_POLICIES)}")
    retry_ms = _number(environ, "REDIS_RETRY_MS", 100, low=1, high=60_000)
    return Settings(
        host=host,
        port=_integer(environ, "FANLAB_PORT", 8765, low=0, high=65_535),
        redis_url=redis_url,
        node_id=_text(environ, "FANLAB_NODE_ID", "node"),
        journal=Path(journal) if journal else None,
        client_buffer_bytes=_integer(environ, "CLIENT_BUFFER_BYTES", 1 << 20, low=1024, high=1 << 30),
        slow_client=slow_client,
        heartbeat_interval_s=_number(environ, "HEARTBEAT_INTERVAL", 20, low=0.05, high=3600),
        heartbeat_timeout_s=_number(environ, "HEARTBEAT_TIMEOUT", 20, low=0.05, high=3600),
        redis_retry_s=retry_ms / 1000,
        redis_retry_max_s=max(retry_ms, _number(environ, "REDIS_RETRY_MAX_MS", 1000, low=1, high=600_000)) / 1000,
        redis_ping_s=_number(environ, "REDIS_PING_MS", 250, low=10, high=60_000) / 1000,
        redis_timeout_s=_number(environ, "REDIS_TIMEOUT_MS", 5000, low=10, high=600_000) / 1000,
        auth_token=environ.get("AUTH_TOKEN") or None,
        allowed_origins=_origins(environ),
        cache_channel=environ.get("CACHE_CHANNEL", "user:updated").strip() or None,
        cache_entries=_integer(environ, "CACHE_ENTRIES", 10_000, low=1, high=10_000_000),
        cache_entry_bytes=_integer(environ, "CACHE_ENTRY_BYTES", 1 << 16, low=2, high=1 << 26),
        max_channels=_integer(environ, "MAX_CHANNELS", 100, low=1, high=1_000_000),
        max_channel_bytes=_integer(environ, "MAX_CHANNEL_BYTES", 256, low=1, high=65_536),
        max_message_bytes=_integer(environ, "MAX_MESSAGE_BYTES", 1 << 16, low=128, high=1 << 24),
        close_timeout_s=_number(environ, "CLOSE_TIMEOUT", 2, low=0.1, high=60),
    )


def _text(environ: Mapping[str, str], name: str, default: str) -> str:
    value = environ.get(name, default).strip()
    if not value:
        raise SettingError(f"{name} is empty; unset it for its default, {default}")
    return value


def _number(environ: Mapping[str, str], name: str, default: float, *, low: float, high: float) -> float:
    text = environ.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        raise SettingError(f"{name}={text!r} is no number; write one from {low} to {high}") from None
    if not low <= value <= high:  # false for NaN too
        raise SettingError(f"{name}={text!r} is out of range; write a number from {low} to {high}")
    return value


def _integer(environ: Mapping[str, str], name: str, default: int, *, low: int, high: int) -> int:
    value = _number(environ, name, default, low=low, high=high)
    if value != int(value):
        raise SettingError(f"{name}={environ[name]!r} is no whole number; write one from {low} to {high}")
    return int(value)


def _origins(environ: Mapping[str, str]) -> frozenset[str]:
    origins = frozenset(part.strip() for part in environ.get("ALLOWED_ORIGINS", "").split(",") if part.strip())
    for origin in sorted(origins - {"*"}):
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path:
            raise SettingError(f"ALLOWED_ORIGINS has {origin!r}, which is no origin; write https://host or *")
    return origins
