"""What a run tells while it runs, and who listens: a live view on a terminal, plain lines in CI, or nobody.

Listeners only ever look. The account never hears from them.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fanlab import clock
from fanlab.ledger.events import FaultStamp
from fanlab.load.session import LoadSnapshot
from fanlab.report.text import clean_block

LINE_EVERY_S = 2.0
_STAMP_WORDS = {
    "requested": "asked for",
    "confirmed": "has bitten",
    "heal_requested": "is being healed",
    "heal_confirmed": "has healed",
}


@dataclass(frozen=True, slots=True)
class PhaseBegan:
    """A phase of the run begins; `detail` says what it works on."""

    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """The load's totals a moment ago, `t_s` after time 0; None before there is a time 0."""

    t_s: float | None
    load: LoadSnapshot


@dataclass(frozen=True, slots=True)
class FaultTold:
    """A fault reached one of its four stamps."""

    t_s: float
    stamp: FaultStamp


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the reader should know now and that the verdict will take up."""

    message: str


@dataclass(frozen=True, slots=True)
class Invited:
    """The run waits for workers on other hosts; `command` is what to type there, and holds a secret."""

    expect: int
    command: str


@dataclass(frozen=True, slots=True)
class Joined:
    """A worker has joined."""

    name: str


Event = PhaseBegan | Tick | FaultTold | Warned | Invited | Joined
Listener = Callable[[Event], None]


class View(Protocol):
    """A listener that may hold the terminal while the run lasts."""

    def __call__(self, event: Event) -> None:
        """Take an event."""

    def __enter__(self) -> Self:
        """Take the terminal."""

    def __exit__(self, *_: object) -> None:
        """Give it back."""


class Silence:
    """Nobody listens (`--no-progress`)."""

    def __call__(self, event: Event) -> None:
        """Ignore it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Quiet(Silence):
    """Nobody listens, but to what somebody must do for the run to go on."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, event: Event) -> None:
        """Print an invitation."""
        if isinstance(event, Invited):
            self._console.print(_line(event), soft_wrap=True)


class Lines(Silence):
    """One plain line per event, and per LINE_EVERY_S of load: for logs and CI."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_line_ns = 0

    def __call__(self, event: Event) -> None:
        """Print it, unless it is a tick and the last one was a moment ago."""
        if isinstance(event, Tick):
            if clock.now_ns() < self._next_line_ns:
                return
            self._next_line_ns = clock.now_ns() + round(LINE_EVERY_S * clock.NS_PER_S)
        self._console.print(_line(event), soft_wrap=True)


class LiveView:
    """Events scroll by; below them a small table of the load stays and changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=True)
        self._before: Tick | None = None
        self._rate_per_s = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Scroll it by, or redraw the table."""
        if isinstance(event, Tick):
            self._live.update(self._table(event))
        else:
            self._console.print(_line(event), soft_wrap=True)

    def _table(self, tick: Tick) -> Table:
        before, self._before = self._before, tick
        if before is not None and before.t_s is not None and tick.t_s is not None and tick.t_s > before.t_s:
            self._rate_per_s = (tick.load.deliveries - before.load.deliveries) / (tick.t_s - before.t_s)
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in _figures(tick, self._rate_per_s):
            table.add_row(Text(name, style="dim"), Text(value, style="bold"))
        return table


def harmless(listener: Listener) -> Listener:
    """One that fails, as with a full disk under stderr, hears no more: a run does not depend on being watched."""
    listening = True

    def tell(event: Event) -> None:
        nonlocal listening
        if listening:
            try:
                listener(event)
            except OSError:
                listening = False

    return tell


def view_for(console: Console, *, wanted: bool) -> View:
    """The view that suits the console: live on a terminal, lines elsewhere and in CI, silence if not wanted."""
    if not wanted:
        return Quiet(console)
    in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")  # many a CI gives its jobs a terminal
    alive = console.is_terminal and not console.is_dumb_terminal and not in_ci
    return LiveView(console) if alive else Lines(console)


def _figures(tick: Tick, rate_per_s: float) -> list[tuple[str, str]]:
    load = tick.load
    return [
        ("time", "-" if tick.t_s is None else f"{tick.t_s:.1f} s"),
        ("clients", f"{load.connected} of {load.clients} connected, {load.reconnecting} reconnecting"),
        ("deliveries", f"{load.deliveries} ({rate_per_s:.0f}/s)"),
        ("lost or in flight", f"{max(0, load.owed - load.deliveries)}"),
        ("latency", _latency(load)),
    ]


def _latency(load: LoadSnapshot) -> str:
    if load.latency_p50_ms is None or load.latency_p99_ms is None:
        return "-"
    return f"p50 {load.latency_p50_ms:.0f} ms, p99 {load.latency_p99_ms:.0f} ms"


def _line(event: Event) -> Text:
    """One event as one line, in words; never markup, so that names cannot play tricks."""
    if isinstance(event, PhaseBegan):
        return Text.assemble((event.name, "bold"), f"  {event.detail}" if event.detail else "")
    if isinstance(event, FaultTold):
        name = (
            event.stamp["kind"]
            if event.stamp["target"] == "redis"
            else f"{event.stamp['kind']} {event.stamp['target']}"
        )
        style = "red" if event.stamp["stamp"] == "confirmed" else "green" if "heal" in event.stamp["stamp"] else ""
        return Text.assemble(f"{event.t_s:7.2f} s  ", (f"{name} {_STAMP_WORDS[event.stamp['stamp']]}", style))
    if isinstance(event, Warned):
        return Text(f"warning: {clean_block(event.message)}", style="yellow")
    if isinstance(event, Invited):
        workers = "1 worker" if event.expect == 1 else f"{event.expect} workers"
        return Text(f"waiting for {workers}; on another host: {event.command}")
    if isinstance(event, Joined):
        return Text(f"{event.name} has joined", style="green")
    load = event.load
    when = " " * 9 if event.t_s is None else f"{event.t_s:7.2f} s"
    missing = max(0, load.owed - load.deliveries)
    return Text(
        f"{when}  {load.connected}/{load.clients} clients, {load.sent} published, "
        f"{load.deliveries} delivered, {missing} lost or in flight, latency {_latency(load)}"
    )
