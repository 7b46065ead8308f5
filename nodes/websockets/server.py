"""A WebSocket node: fans out Redis Pub/Sub channels to its clients. Run it with `python server.py`.

Start reading at node.py; hub.py holds the rules of subscription; README.md the settings.
"""

import asyncio
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from clients import Client
from journal import FileJournal, Gathered, NoJournal
from node import Node
from settings import SettingError, Settings, from_environment
from websockets.asyncio.server import serve

log = logging.getLogger("node")


def main() -> int:
    """Run until SIGTERM or SIGINT. Exit codes: 0 orderly end, 1 cannot listen or broke down, 2 a bad setting."""
    try:
        settings = from_environment(os.environ)
    except SettingError as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=f"%(asctime)s %(levelname)s {settings.node_id.replace('%', '%%')} %(message)s",
    )
    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # peers' broken handshakes are theirs, and metered
    _raise_file_limit()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(run(settings))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(settings))


async def run(settings: Settings) -> int:
    """Listen, serve, and end in order."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    journal: Gathered = NoJournal()
    if settings.journal is not None:
        try:
            journal = FileJournal(settings.journal, loop)
        except OSError as error:
            print(f"FANLAB_JOURNAL={str(settings.journal)!r} cannot be opened: {error.strerror}", file=sys.stderr)
            return 2
    journal.event(time.monotonic_ns(), "start", node=settings.node_id, pid=os.getpid())
    journal.flush()
    node = Node(settings, journal)
    try:
        listening = await listen(node)
    except OSError as error:
        log.error(  # noqa: TRY400 - the reason says it all
            "cannot listen on %s:%d: %s", settings.host, settings.port, error.strerror or error
        )
        journal.close()
        return 1
    address = f"{settings.host}:{listening.port}"
    log.info("listening on http://%s/ (WebSocket: ws://%s/ws) pid=%d", address, address, os.getpid())
    redis_loop = asyncio.create_task(node.upstream.run(node.hub))
    heartbeat = asyncio.create_task(node.watch_clients())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((redis_loop, heartbeat, stopped), return_when=asyncio.FIRST_COMPLETED)
    orderly = stopped.done()
    if orderly:
        log.info("stopping: %d clients", len(node.clients))
    listening.close()  # no new ones; node.stop() closes the others, within a deadline
    await node.stop()
    for task in (redis_loop, heartbeat, stopped):
        task.cancel()
    ended = await asyncio.gather(redis_loop, heartbeat, return_exceptions=True)
    for result in ended:
        if isinstance(result, Exception):
            log.error("broke down", exc_info=result)
    node.hub.close(time.monotonic_ns())
    journal.event(time.monotonic_ns(), "stop")
    journal.close()
    log.info("stopped")
    return 0 if orderly else 1


@dataclass(frozen=True, slots=True)
class Listening:
    """A port that takes connections until it is closed; those that it took go on."""

    port: int
    close: Callable[[], object]


async def listen(node: Node) -> Listening:
    """Take clients for the node. Raises OSError."""
    settings = node.settings
    server = await serve(
        node.serve,
        settings.host,
        settings.port,
        create_connection=Client,
        process_request=node.process_request,
        compression=None,  # frames are the same for everybody, and exactly what was published
        ping_interval=None,  # heartbeat.py does it, with a deadline that holds
        close_timeout=settings.close_timeout_s,
        max_size=settings.max_message_bytes,
        server_header=None,
        reuse_address=True,
        backlog=1024,
    )
    return Listening(server.sockets[0].getsockname()[1], partial(server.close, close_connections=False))


def _raise_file_limit() -> None:
    """A connection is a file: take as many as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
