"""What listeners show: the right view for the console, every event as a line, names never as markup."""

import errno
import io

import pytest
from rich.console import Console

from fanlab.ledger.events import FaultStamp
from fanlab.load.session import LoadSnapshot
from fanlab.progress import (
    Event,
    FaultTold,
    Invited,
    Joined,
    Lines,
    LiveView,
    PhaseBegan,
    Quiet,
    Tick,
    Warned,
    harmless,
    view_for,
)

LOAD = LoadSnapshot(
    clients=60,
    connected=40,
    reconnecting=20,
    deliveries=900,
    sent=50,
    unsent=0,
    failed=0,
    owed=1000,
    last_delivery_ns=1,
    latency_p50_ms=2.0,
    latency_p99_ms=None,
)


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)


def printed(where: Console) -> str:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue()


def stamp(name: str, kind: str = "crash", target: str = "node-2") -> FaultTold:
    return FaultTold(2.0, FaultStamp(id=0, kind=kind, target=target, stamp=name, t=0))  # type: ignore[typeddict-item]


def test_the_view_suits_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert isinstance(view_for(console(terminal=True), wanted=True), LiveView)
    assert isinstance(view_for(console(terminal=False), wanted=True), Lines)
    assert type(view_for(console(terminal=True), wanted=False)) is Quiet
    monkeypatch.setenv("CI", "true")
    assert isinstance(view_for(console(terminal=True), wanted=True), Lines)


def test_an_invitation_is_told_to_whoever_wants_to_hear_nothing_else() -> None:
    out = console(terminal=False)
    quiet = view_for(out, wanted=False)
    invited = Invited(2, "fanlab worker --master 10.0.0.1:5557 --token [bold]x")
    for event in (PhaseBegan("start"), invited, Joined("load-2 (on b, 10.0.0.2)"), Warned("late")):
        quiet(event)
    said = "waiting for 2 workers; on another host: fanlab worker --master 10.0.0.1:5557 --token [bold]x\n"
    assert printed(out) == said
    loud = console(terminal=False)
    Lines(loud)(Invited(1, "x"))
    Lines(loud)(Joined("load-2 (on b, 10.0.0.2)"))
    assert printed(loud) == "waiting for 1 worker; on another host: x\nload-2 (on b, 10.0.0.2) has joined\n"


def test_lines_tell_every_event_but_not_every_tick() -> None:
    out = console(terminal=False)
    with Lines(out) as view:
        view(PhaseBegan("measure", "8s"))
        for _ in range(100):
            view(Tick(1.0, LOAD))
        view(stamp("confirmed"))
        view(stamp("heal_confirmed", "redis-restart", "redis"))
        view(Warned("only 59 of 60 clients are connected"))
    text = printed(out)
    assert "measure  8s" in text
    assert text.count("40/60 clients, 50 published, 900 delivered, 100 lost or in flight") == 1
    assert "crash node-2 has bitten" in text
    assert "redis-restart has healed" in text
    assert "warning: only 59 of 60" in text


def test_names_are_never_markup() -> None:
    out = console(terminal=False)
    Lines(out)(PhaseBegan("[red]x[/red]", "[link=file:///etc]y"))
    assert "[red]x[/red]  [link=file:///etc]y" in printed(out)


def test_the_live_view_shows_the_load_and_gives_the_terminal_back() -> None:
    out = console(terminal=True)
    with LiveView(out) as view:
        view(Tick(None, LOAD))
        view(Tick(1.0, LOAD))
        view(stamp("requested"))
    text = printed(out)
    assert "40 of 60 connected, 20 reconnecting" in text
    assert "lost or in flight" in text
    assert "crash node-2 asked for" in text
    assert text.endswith("\x1b[?25h") or "\x1b[?25h" in text  # the cursor is back


def test_a_listener_that_fails_hears_no_more_and_harms_nobody() -> None:
    heard = []

    def listener(event: Event) -> None:
        heard.append(event)
        raise OSError(errno.ENOSPC, "no space left")

    tell = harmless(listener)
    tell(PhaseBegan("start"))
    tell(PhaseBegan("connect"))
    assert heard == [PhaseBegan("start")]
