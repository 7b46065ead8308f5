"""What a link can be asked for: requests in, replies out, both JSON objects, told apart by `id`.

    proxy {name, upstream: "host:port"}                             ->  {listen: "host:port"}
    toxic {proxy, name, type, stream, toxicity, attributes}         ->  {hit}      connections there are that it hits
    remove {proxy, name}                                            ->  {}
    reset {proxy, share}                                            ->  {reset, of}
    state {}                                                        ->  {proxies: {name: ProxyState}}
    a request that failed                                           ->  {error: {kind: "request" | "environment", what}}

A reply comes when what was asked for is done: a toxic that is confirmed holds for every connection.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from fanlab.link.journal import Journal
from fanlab.link.proxy import Proxy
from fanlab.link.toxics.toxic import parse_toxic

Message = dict[str, Any]


class Control:
    """All proxies of a link."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, host: str, seed: int, journal: Journal) -> None:
        self._loop = loop
        self._host = host
        self._seed = seed
        self._journal = journal
        self._proxies: dict[str, Proxy] = {}
        self._ops: dict[str, Callable[[Mapping[str, Any]], Message]] = {
            "proxy": self._proxy,
            "toxic": self._toxic,
            "remove": self._remove,
            "reset": self._reset,
            "state": self._state,
        }

    def answer(self, request: Mapping[str, Any]) -> Message:
        """The reply. Never raises for what a request of strings, numbers and objects holds."""
        try:
            reply = self._op(request)(request)
        except ValueError as error:
            reply = _failed("request", str(error))
        except OSError as error:
            reply = _failed("environment", error.strerror or str(error))
        return {"id": request.get("id"), **reply}

    def _op(self, request: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Message]:
        op = _told(request, "op")
        if op not in self._ops:
            raise ValueError(f"there is no op {op}; there are {', '.join(self._ops)}")
        return self._ops[op]

    async def close(self) -> None:
        """End all connections, and let all ports go."""
        for proxy in self._proxies.values():
            await proxy.close()

    def _proxy(self, request: Mapping[str, Any]) -> Message:
        name = _told(request, "name")
        if name in self._proxies:
            raise ValueError(f"there is a proxy {name} already")
        self._proxies[name] = Proxy(
            name,
            _told(request, "upstream"),
            loop=self._loop,
            host=self._host,
            seed=self._seed,
            journal=self._journal,
        )
        return {"listen": self._proxies[name].listen}

    def _toxic(self, request: Mapping[str, Any]) -> Message:
        told = {name: request[name] for name in ("stream", "toxicity", "attributes") if name in request}
        toxic = parse_toxic(_told(request, "name"), _told(request, "type"), **told)
        return {"hit": self._of(request).add(toxic)}

    def _remove(self, request: Mapping[str, Any]) -> Message:
        self._of(request).remove(_told(request, "name"))
        return {}

    def _reset(self, request: Mapping[str, Any]) -> Message:
        share = request.get("share", 1.0)
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"share must be a number from 0 to 1, not {share!r}")
        reset, of = self._of(request).reset(share)
        return {"reset": reset, "of": of}

    def _state(self, _request: Mapping[str, Any]) -> Message:
        return {"proxies": {name: proxy.state().to_json() for name, proxy in self._proxies.items()}}

    def _of(self, request: Mapping[str, Any]) -> Proxy:
        name = _told(request, "proxy")
        if name not in self._proxies:
            raise ValueError(f"there is no proxy {name}")
        return self._proxies[name]


def _told(request: Mapping[str, Any], field: str) -> str:
    if not isinstance(value := request.get(field), str):
        raise ValueError(f"a request needs {field}, a string: {dict(request)}")  # noqa: TRY004 - the asker's error
    return value


def _failed(kind: str, what: str) -> Message:
    return {"error": {"kind": kind, "what": what}}
