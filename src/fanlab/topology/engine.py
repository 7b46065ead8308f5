"""A connection to a Docker engine, as DOCKER_HOST or the docker CLI's current context names it.

The SDK blocks, so each question is put in a thread of its own: a daemon, which nobody waits for when fanlab ends.
"""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar

import requests
from docker.context import ContextAPI
from docker.errors import APIError, DockerException

import docker
from fanlab.errors import EnvironmentFailure

ANSWER_WITHIN_S: Final = 60.0
LAST_CALLS_S: Final = 10.0
_CONNECTIONS: Final = 256  # kept at most; each running container holds one for its output
_NO_ENGINE: Final = (
    "start Docker, or name an engine on this machine with DOCKER_HOST or `docker context use`; without --backend docker"
    " everything runs as local processes"
)
LOCAL_ONLY: Final = (
    "name a local engine with DOCKER_HOST or `docker context use`; Docker Desktop's runs in a virtual machine"
)
_T = TypeVar("_T")


class Engine:
    """An engine that answers. Belongs to one event loop."""

    def __init__(self, client: Any) -> None:
        """`client` is the SDK's."""
        self._api = client.api
        self._calls: set[asyncio.Future[Any]] = set()
        self.info: dict[str, Any] = {}

    @classmethod
    async def connect(cls) -> Self:
        """Find the engine and ask what it is. Raises EnvironmentFailure if none answers."""
        engine = cls(await in_thread(connect))
        engine.info = await engine.ask("tell what it is", lambda api: api.info())
        return engine

    @property
    def version(self) -> str:
        """`20.10.24`."""
        return str(self.info.get("ServerVersion", "unknown"))

    @property
    def api_version(self) -> tuple[int, ...]:
        """That of the API in use: (1, 41)."""
        return tuple(int(part) for part in self._api.api_version.split("."))

    async def ask(self, what: str, call: Callable[[Any], _T], *, makes_nothing: bool = False) -> _T:
        """Put a question to the SDK's low-level client; `what` ends the sentence `the Docker engine could not …`.

        Raises EnvironmentFailure. A call goes on when its caller is cancelled: `calls_end` waits for it, unless it
        `makes_nothing` that would have to be removed.
        """
        future = in_thread(lambda: translated(what, lambda: call(self._api)))
        if not makes_nothing:
            self._calls.add(future)
            future.add_done_callback(self._calls.discard)
        return await asyncio.shield(future)

    async def follow(self, name: str, container: str, fd: int) -> asyncio.Future[int]:
        """Append all that a container says to a file from its next start on; the future has its exit code then.

        Takes over the descriptor. Raises EnvironmentFailure, as does the future once the engine is gone.
        """
        loop = asyncio.get_running_loop()
        attached: asyncio.Future[None] = loop.create_future()

        def listen() -> int:
            try:
                said = self._api.attach(container, stdout=True, stderr=True, stream=True, logs=False)
                loop.call_soon_threadsafe(attached.set_result, None)
                for part in said:
                    _write(fd, part)
                code = int(self._api.wait(container)["StatusCode"])
                if self._api.inspect_container(container)["State"].get("OOMKilled"):
                    _write(fd, b"--- the kernel killed it: it used more memory than it may\n")
            finally:
                os.close(fd)
            return code

        ended = in_thread(lambda: translated(f"follow {name}", listen))
        await asyncio.wait((attached, ended), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            ended.result()
        return ended

    async def calls_end(self) -> None:
        """Wait, within reason, until no call is under way: nothing is made behind the back of who cleans up."""
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=LAST_CALLS_S)


def connect(timeout_s: float = ANSWER_WITHIN_S) -> Any:
    """The SDK's client, with the API version that both sides know. Raises EnvironmentFailure if no engine answers."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of connections that it does not keep
    where = "DOCKER_HOST or the docker CLI's context"
    try:
        where = named_host()
        if where.startswith("ssh://"):
            raise EnvironmentFailure(f"the Docker engine at {where} is on another machine", hint=LOCAL_ONLY)
        return docker.from_env(timeout=round(timeout_s), max_pool_size=_CONNECTIONS)
    except (DockerException, requests.RequestException, OSError, ValueError) as error:
        raise EnvironmentFailure(f"no Docker engine answers at {where}: {_reason(error)}", hint=_NO_ENGINE) from error


def named_host() -> str:
    """Where the engine is to be: DOCKER_HOST, else the current context's.

    Raises EnvironmentFailure if there is no such context (the SDK would take the default one), and the SDK's errors.
    """
    if host := os.environ.get("DOCKER_HOST"):
        return host
    context = os.environ.get("DOCKER_CONTEXT") or None
    if ContextAPI.get_context(context) is None:
        what = f"there is no docker context {context!r}" if context else "docker's current context does not exist"
        raise EnvironmentFailure(what, hint="`docker context ls` has those there are")
    return str(ContextAPI.kwargs_from_context().get("base_url") or "its usual place")


def _reason(error: BaseException) -> str:
    """What the system said, if anything below says so; the SDK wraps it several times."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    return str(error)


def translated(what: str, call: Callable[[], _T]) -> _T:
    """Do the call; the SDK's errors become EnvironmentFailure."""
    try:
        return call()
    except APIError as error:
        raise EnvironmentFailure(f"the Docker engine could not {what}: {error.explanation or error}") from error
    except (DockerException, requests.RequestException) as error:
        raise EnvironmentFailure(
            f"the Docker engine could not {what}: it does not answer ({_reason(error)})"
        ) from error


def _write(fd: int, data: bytes) -> None:
    """A full disk must not keep a container from talking: what cannot be kept is dropped."""
    with contextlib.suppress(OSError):
        os.write(fd, data)


def in_thread(call: Callable[[], _T]) -> asyncio.Future[_T]:
    """Run a blocking call in a daemon thread. A cancelled future leaves the call to itself."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # the result, as there is no error
        else:
            future.set_exception(error)
            future.exception()  # not every one is awaited

    def run() -> None:
        result, failure = None, None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is for who awaits
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everybody who waited
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="docker", daemon=True).start()
    return future
