"""Somebody's Redis, with a password or without, and with a client of theirs that stays connected."""

import contextlib
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis
from redis.exceptions import RedisError

from fanlab.topology.redis import find_server

SETTINGS = ("maxclients", "client-output-buffer-limit")


class OwnRedis:
    """A redis-server for as long as the block lasts."""

    def __init__(self, folder: Path, secret: str = "hunter2") -> None:  # noqa: S107 - of a Redis that is gone soon
        self.secret = secret
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._folder = folder / "their-redis"

    @property
    def url(self) -> str:
        """With its password, if it has one."""
        login = f":{self.secret}@" if self.secret else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def settings(self) -> dict[str, str]:
        """By the client that is connected already."""
        return {name: self._client.config_get(name)[name] for name in SETTINGS}

    def __enter__(self) -> Self:
        self._folder.mkdir()
        argv = [str(find_server().path), "--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        argv += ["--requirepass", self.secret, "--dir", str(self._folder)]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={})
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(RedisError, OSError):
                self._client = Redis.from_url(self.url, decode_responses=True, single_connection_client=True)
                return self
            if time.monotonic() > end:
                self._process.kill()
                raise TimeoutError("redis-server does not answer")
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._process.kill()
        self._process.wait()
