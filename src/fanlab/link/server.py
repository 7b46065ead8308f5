"""The link's process: `python -m fanlab.link.server --control SOCKET --host 127.0.0.1 --journal FILE [--seed N]`.

It listens on a Unix socket for one controller, and takes JSON lines from it (see `fanlab.link.control`). When the
controller hangs up, for whatever reason, the link ends: it never outlives who knows what it is for.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Final

import uvloop

from fanlab.link.control import Control
from fanlab.link.journal import Journal

_CONTROLLER_WITHIN_S: Final = 60.0
_LINE_BYTES: Final = 1 << 20


def main() -> int:
    """Run until the controller hangs up, or SIGTERM: 0. Not 0: it could not start, or its journal could not be kept."""
    parser = argparse.ArgumentParser(description="fanlab's TCP proxy for network faults; the harness starts it.")
    parser.add_argument("--control", type=Path, required=True, help="a Unix socket to make and listen on")
    parser.add_argument("--host", default="127.0.0.1", help="where proxies listen")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(serve(arguments.control, arguments.host, arguments.journal, arguments.seed))
        except OSError as error:
            sys.stderr.write(f"the link cannot run: {error}\n")
            return 1


async def serve(control: Path, host: str, journal_path: Path, seed: int) -> int:
    """Be a link until it is over; returns what to exit with. Raises OSError if it cannot start."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[int] = loop.create_future()

    def end(status: int, reason: str = "") -> None:
        if not over.done():
            sys.stderr.write(reason)
            over.set_result(status)

    journal = Journal(journal_path, loop, lambda error: end(1, f"{journal_path} cannot be written: {error.strerror}\n"))
    link = Control(loop, host=host, seed=seed, journal=journal)
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, end, 0)
    alone = loop.call_later(_CONTROLLER_WITHIN_S, end, 1, "nobody has come to control this link\n")

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        alone.cancel()
        server.close()  # one controller, and no other ever
        status = 1  # an error that nobody has foreseen is not an end in order
        try:
            while line := await reader.readline():
                writer.write(json.dumps(link.answer(json.loads(line)), separators=(",", ":")).encode() + b"\n")
                await writer.drain()
            status = 0
        except OSError:
            status = 0  # an abrupt end is an end
        finally:
            writer.close()
            end(status)

    try:
        server = await asyncio.start_unix_server(obey, control, limit=_LINE_BYTES)
        status = await over
        server.close()
    finally:
        alone.cancel()
        await link.close()
        journal.close()
        with contextlib.suppress(OSError):
            os.unlink(control)  # noqa: PTH108 - the last thing done, and quick
    return status


if __name__ == "__main__":
    sys.exit(main())
