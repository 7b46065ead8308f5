"""An engine process: `python -m fanlab.load.engine --role clients|publishers --config F --worker N --fd N`.

The Locust worker that started it gives orders as JSON lines over the socket `--fd`. When that closes, the engine ends
itself in order, so that a dead worker costs no evidence.
"""

import argparse
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanlab.clock import boot_id, follow, now_ns
from fanlab.ledger.stripe import Kind, StripeWriter
from fanlab.load.config import LoadConfig, read_config
from fanlab.load.limits import raise_open_files
from fanlab.load.wire import encode


def main() -> int:
    """Run one engine until it is told to end; 0 when its stripe is complete."""
    parser = argparse.ArgumentParser(description="One of fanlab's load engines; its Locust worker starts it.")
    parser.add_argument("--role", choices=("clients", "publishers"), required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--worker", type=int, required=True)
    parser.add_argument("--fd", type=int, required=True, help="a connected socket to the Locust worker")
    parser.add_argument(
        "--clock-ahead", type=int, default=0, help="ns by which this boot's clock is ahead of the run's"
    )
    arguments = parser.parse_args()
    follow(arguments.clock_ahead)
    config = read_config(arguments.config)
    allowed = raise_open_files()
    with socket.socket(fileno=arguments.fd) as control:
        try:
            with open_stripe(config, arguments.role, arguments.worker, arguments.clock_ahead) as stripe:
                # Each role loads only what it needs: a run begins when the last of its processes has loaded.
                if arguments.role == "clients":
                    from fanlab.load.clientsloop import run_clients

                    run_clients(config, stripe, control, allowed)
                else:
                    from fanlab.load.publisher import PublishersEngine

                    PublishersEngine(config, stripe, control).run()
        except OSError as error:
            return _fail(control, error)
    return 0


class NoStripe(StripeWriter):
    """For plain Locust, which keeps no ledger: an endless test would fill the disk with one."""

    def __init__(self) -> None:
        """Opens nothing."""

    def write(self, kind: Kind, payload: bytes | bytearray | memoryview) -> None:
        """Nothing."""

    def close(self, footer: Mapping[str, Any] | None = None) -> None:
        """Nothing."""


def open_stripe(config: LoadConfig, role: str, worker: int, clock_ahead_ns: int = 0) -> StripeWriter:
    """The engine's own journal, its START frame written; NoStripe if it is to keep none. Raises OSError."""
    if not config.journal:
        return NoStripe()
    header = {"role": role, "worker": worker, "pid": os.getpid(), "boot_id": boot_id(), "started_ns": now_ns()}
    if role == "clients":
        from fanlab.load import bulk

        header["receive"] = bulk.find()[1]  # "compiled", or why not
    if clock_ahead_ns:
        header["clock_ahead_ns"] = clock_ahead_ns  # taken off every time in it
    return StripeWriter(Path(config.journal) / f"{role}-{worker}.stripe", header)


def _fail(control: socket.socket, error: OSError) -> int:
    """Tell the worker why this engine cannot go on: a full disk, as a rule."""
    message = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    sys.stderr.write(f"{message}\n")
    try:
        control.settimeout(1)
        control.sendall(encode({"ev": "fatal", "error": message}))
    except OSError as gone:
        sys.stderr.write(f"the worker could not be told: {gone}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
