"""A small system for tests of the load: reference nodes as subprocesses, and what LoadSession uses of a backend."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fanlab import clock
from fanlab.resources import folder
from fanlab.topology.backend import NodeEndpoint, UnitState
from fanlab.topology.labels import Marks, Owner


class Processes:
    """Starts processes and ends them by their ids: as much of a Backend as LoadSession uses."""

    python = sys.executable
    bind_host = "127.0.0.1"
    marks = Marks.new(Owner.of(os.getpid()))

    def __init__(self) -> None:
        self.by_name: dict[str, asyncio.subprocess.Process] = {}
        self.folders: list[Path] = []

    async def start_helper(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv, env={**os.environ, **env}, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.by_name[name] = process
        return process.pid

    def host_of(self, unit: str) -> str:  # noqa: ARG002 - one for all
        return "127.0.0.1"

    async def start_node(self, index: int, port: int, redis_url: str, logs: Path) -> NodeEndpoint:
        """A reference node, once it accepts connections."""
        node_id = f"node-{index + 1}"
        env = {
            "FANLAB_HOST": "127.0.0.1",
            "FANLAB_PORT": str(port),
            "FANLAB_REDIS_URL": redis_url,
            "FANLAB_NODE_ID": node_id,
        }
        await self.start_helper(
            node_id, [sys.executable, str(folder("nodes") / "websockets" / "server.py")], env, logs / f"{node_id}.log"
        )
        deadline_ns = clock.now_ns() + 20 * clock.NS_PER_S
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if clock.now_ns() > deadline_ns:
                    raise
                await asyncio.sleep(0.05)
                continue
            writer.close()
            break
        http = f"http://127.0.0.1:{port}"
        return NodeEndpoint(node_id, index, f"ws://127.0.0.1:{port}/ws", http, "json", journals=False)

    async def own(self, folder: Path) -> None:
        self.folders.append(folder)

    def state(self, name: str) -> UnitState:
        return UnitState.RUNNING if self.by_name[name].returncode is None else UnitState.GONE

    async def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        self.by_name[name].send_signal(signal.SIGKILL)
        await self.by_name[name].wait()

    async def close(self) -> None:
        for process in self.by_name.values():
            if process.returncode is None:
                process.kill()
            await process.wait()
        for owned in self.folders:
            shutil.rmtree(owned, ignore_errors=True)
