"""Plain HTTP on the node's port, and who may open a WebSocket.

Only GET without a body exists: websockets refuses everything else with 400 before it comes here.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response in the making."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT
    headers: Mapping[str, str] | None = None


def json_reply(data: object, status: HTTPStatus = HTTPStatus.OK) -> Reply:
    """A JSON document."""
    return Reply(status, json.dumps(data).encode() + b"\n", JSON)


def text_reply(status: HTTPStatus, text: str) -> Reply:
    """A line of text."""
    return Reply(status, text.encode() + b"\n")


class Page:
    """The page for a person: one file, its inline script and style allowed by their hashes and nothing else."""

    def __init__(self, path: Path) -> None:
        html = path.read_text(encoding="utf-8")
        self._body = html.encode()
        hashes: dict[str, list[str]] = {"script": [], "style": []}
        for tag, text in _INLINE.findall(html):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            hashes[tag].append(f"'sha256-{digest}'")
        self.policy = (
            f"default-src 'none'; script-src {' '.join(hashes['script'])}; style-src {' '.join(hashes['style'])}; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def reply(self) -> Reply:
        """The page with its policy."""
        return Reply(HTTPStatus.OK, self._body, HTML, {"Content-Security-Policy": self.policy})


@dataclass(frozen=True, slots=True)
class Gate:
    """Who may come in: the token, if one is set, and the origins that browsers may come from.

    A browser always sends Origin, and a page of any site can open a WebSocket to here. Without a list, only pages from
    this very host may; other programs send no Origin and are not concerned.
    """

    token: str | None
    origins: frozenset[str]

    def token_ok(self, path: str, authorization: str | None) -> bool:
        """Whether `Authorization: Bearer …`, or `?token=…` for browsers, carries the token."""
        if self.token is None:
            return True
        given = parse_qs(urlsplit(path).query).get("token", [])
        if authorization is not None:
            scheme, _, credentials = authorization.partition(" ")
            if scheme.lower() == "bearer":
                given = [credentials.strip()]
        return any(hmac.compare_digest(one.encode("utf-8", "replace"), self.token.encode()) for one in given)

    def origin_ok(self, origin: str | None, host: str | None) -> bool:
        """Whether a page from this origin may connect."""
        if origin is None or "*" in self.origins:
            return True
        if self.origins:
            return origin in self.origins
        return bool(host) and urlsplit(origin).netloc == host


Handler = Callable[[str], Reply]


def route(path: str, handlers: Mapping[str, Handler]) -> Reply:
    """Answer a path: an exact one, or one below a handler whose path ends in `/`, which gets the rest, unquoted."""
    plain = urlsplit(path).path
    if plain in handlers and (plain == "/" or not plain.endswith("/")):
        return handlers[plain]("")
    for prefix, handler in handlers.items():
        if prefix != "/" and prefix.endswith("/") and plain.startswith(prefix) and plain != prefix:
            return handler(unquote(plain[len(prefix) :]))
    return text_reply(HTTPStatus.NOT_FOUND, "not found")
