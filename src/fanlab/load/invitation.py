"""How workers of other hosts are asked to join a run: how many, where, and with which token."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fanlab.load.joining import LEAST_TOKEN, make_token


@dataclass(frozen=True, slots=True)
class Invitation:
    """How many workers of other hosts a run waits for, and where they knock."""

    expect: int
    host: str = "127.0.0.1"
    port: int = 0  # 0: any that is free
    token: str = field(default_factory=make_token, repr=False)
    known: bool = False  # the token was given, and need not be told


def invitation(expect: int, listen: str, token: str | None) -> Invitation:
    """From the options' texts. Raises ValueError, with what is wrong."""
    host, port = parse_address(listen)
    if token is None:
        return Invitation(expect, host, port)
    if len(token) < LEAST_TOKEN:
        raise ValueError(f"a token has {LEAST_TOKEN} characters or more")
    return Invitation(expect, host, port, token, known=True)


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `[::1]:PORT`; 0 where no port is given. Raises ValueError."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port or 0
    except ValueError as error:
        raise ValueError(f"{text!r} is no HOST:PORT: {error}") from None
    if not parts.hostname or parts.netloc != text or "@" in text:
        raise ValueError(f"{text!r} is no HOST:PORT, as 10.0.0.1:5557")
    return parts.hostname, port
