"""fanlab and the person at its terminal: consoles, pipes that nobody reads any more, Ctrl-C and SIGTERM."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar

import click

from fanlab.exits import Exit

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
SHOW_CURSOR: Final = b"\x1b[?25h"


def console(*, stderr: bool = False) -> "Console":
    """A console on stdout or stderr. A reader that leaves makes it silent, and changes no exit code."""
    from rich.console import Console

    class Told(Console):
        """Rich's own would end the process with 1, which means that a gate has failed."""

        def on_broken_pipe(self) -> None:
            self.quiet = True
            nobody_reads(sys.stderr if stderr else sys.stdout)

    return Told(stderr=stderr)


def nobody_reads(stream: TextIO) -> None:
    """The reader of a pipe has left: what follows goes nowhere, the flush at exit included."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def printable(text: str) -> str:
    """A text, of several lines, without what a terminal would obey or show in another order; its lines stay."""
    from fanlab.report.text import clean_block

    return clean_block(text.expandtabs()) + ("\n" if text.endswith("\n") else "")


def json_text(document: Any) -> str:
    """JSON whose texts, when a terminal shows them, are nothing but texts."""
    told = json.dumps(document, indent=2, ensure_ascii=False)
    if told.replace("\n", "").isprintable():
        return told
    return "".join(each if each == "\n" or each.isprintable() else json.dumps(each)[1:-1] for each in told)


def echo_json(document: Any) -> None:
    """Print JSON, and nothing but JSON, on stdout."""
    try:
        click.echo(json_text(document))
    except BrokenPipeError:
        nobody_reads(sys.stdout)


def interruptible(main: Coroutine[Any, Any, T]) -> T:
    """Run `main`; the first Ctrl-C or SIGTERM cancels it, so that it can clean up; a second one ends it at once."""

    async def guarded() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(main)
        asked = 0

        def interrupt() -> None:
            nonlocal asked
            asked += 1
            if asked > 1:
                if sys.stderr.isatty():
                    os.write(2, SHOW_CURSOR)  # the live view hides it
                os._exit(Exit.INTERRUPTED)  # the warden sees the pipe close and ends every process
            task.cancel()
            with contextlib.suppress(OSError):  # nobody reads it any more
                click.echo("interrupted: ending what was started (once more ends it at once)", err=True)

        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, interrupt)
        return await task

    try:
        return asyncio.run(guarded())
    finally:
        sigterm_as_ctrl_c()  # the loop has put the default back


def sigterm_as_ctrl_c() -> None:
    """SIGTERM raises KeyboardInterrupt, wherever fanlab is: also while it reads a scenario or makes a report."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
