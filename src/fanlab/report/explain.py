"""`fanlab explain`: finds the story that was asked for, or losses to begin with, and lays them out as text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from fanlab.analysis.names import Names, names_of
from fanlab.clock import NS_PER_S
from fanlab.errors import Problem, ScenarioError
from fanlab.ledger.account import account as account_of
from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.closeup import CloseUp, close_up
from fanlab.ledger.result import Account
from fanlab.report import text, words
from fanlab.report.story import Story, tell
from fanlab.rundir import RunDir

MOST_LOSSES: Final = 20
_CHARS_AT_MOST: Final = 300
_NAMES_AT_MOST: Final = 12  # in an error


def stories(
    rundir: RunDir, who: str, seq: int, *, publisher: str | None = None, channel: str | None = None
) -> list[Story]:
    """The story of number `seq` for client `who` (`12`, or `readers:3`), of each stream that it can be of.

    Raises ScenarioError, with what there is, for a client, publisher, channel or number that there is not, and what
    `account` raises.
    """
    manifest = rundir.read_manifest()
    account = account_of(rundir)
    names = names_of(manifest)
    client = client_number(names, who)
    seen = close_up(rundir, names.plan, manifest.get("run_tag"), client, seq)
    return [tell(manifest, account, seen, stream) for stream in _streams(names, seen, publisher, channel)]


def some_losses(rundir: RunDir, who: str | None = None, most: int = MOST_LOSSES) -> tuple[list[dict[str, Any]], int]:
    """Losses to begin with, of one client or of all, and how many there are. Raises as `stories` does."""
    manifest = rundir.read_manifest()
    account = account_of(rundir)
    names = names_of(manifest)
    client = None if who is None else client_number(names, who)
    total = len(account.losses) if client is None else int((account.losses["client"] == client).sum())
    return losses(account, names, client, most), total


def client_number(names: Names, who: str) -> int:
    """The number of a client in the plan. Raises ScenarioError where there is none."""
    name, _, ordinal = who.rpartition(":")
    group = next((group for group in names.plan.groups if group.name == name), None)
    if ordinal.isdecimal():
        number = int(ordinal)
        if group is not None and number < group.count:
            return group.first_client + number
        if not name and names.group_of(number) is not None:
            return number
    groups = [
        f"{text.clean(g.name, 40)}:0 to {text.clean(g.name, 40)}:{g.count - 1}" for g in names.plan.groups if g.count
    ]
    known = f"this run has clients 0 to {names.clients() - 1}, which are {text.listing(groups[:_NAMES_AT_MOST])}"
    raise _refused("--client", who, known)


def _streams(names: Names, seen: CloseUp, publisher: str | None, channel: str | None) -> list[int]:
    """The streams that are meant and have that number; without a choice, those that concern the client."""
    streams = names.plan.streams
    for option, value, known in (
        ("--publisher", publisher, [stream.publisher for stream in streams]),
        ("--channel", channel, [stream.channel for stream in streams]),
    ):
        if value is not None and value not in known:
            shown = [text.clean(name, 40) for name in dict.fromkeys(known)][:_NAMES_AT_MOST]
            raise _refused(option, value, f"this run has {text.listing(shown)}")
    chosen = [s for s in streams if publisher in (None, s.publisher) and channel in (None, s.channel)]
    with_number = {*seen.intents["stream"].tolist(), *seen.outcomes["stream"].tolist()}
    there = [stream for stream in chosen if stream.index in with_number]
    if not there:
        ranges = [
            f"{text.clean(s.publisher, 40)} sent 1 to {seen.last_seq[s.index]} on {text.clean(s.channel, 40)}"
            for s in chosen
        ]
        raise _refused("--seq", seen.seq, "; ".join(ranges[:_NAMES_AT_MOST]) or "no publisher sends that there")
    group = names.group_of(seen.client)
    asked = group.channels if group else ()
    came = set(seen.deliveries["stream"][seen.deliveries["client"] == seen.client].tolist())
    concerned = [stream for stream in there if stream.channel in asked or stream.index in came]
    return [stream.index for stream in concerned or there]


def _refused(option: str, value: object, known: str) -> ScenarioError:
    return ScenarioError([Problem(option, 0, 0, "", f"there is no {text.clean(value, 60)}: {known}")])


def render(story: Story) -> str:
    """The story, a line for each moment, the ending below."""
    seq, channel = text.count(story.seq), text.clean(story.channel, 60)
    title = f"Message {seq} of {text.clean(story.publisher, 60)} on {channel}, for client {story.client}"
    title += f" ({text.clean(story.group, 60)})" if story.group else ""
    who_wide = max((len(text.clean(who, 20)) for _, who, _ in story.moments), default=0)
    lines = [title, "Times are seconds from the start of the measure phase.", ""]
    for t_s, who, what in story.moments:
        at = f"{t_s:.4f}".replace("-", "−")
        lines.append(f"  {at:>9}  {text.clean(who, 20):<{who_wide}}  {text.clean(what, _CHARS_AT_MOST)}")
    lines.append("")
    lines += [text.clean(sentence, 1000) for sentence in story.ending]
    return "\n".join(lines) + "\n"


def losses(account: Account, names: Names, client: int | None, most: int) -> list[dict[str, Any]]:
    """Some losses to look at, `most` at most: of each hop and cause in turn, the earliest first."""
    rows = account.losses if client is None else account.losses[account.losses["client"] == client]
    by_kind: dict[tuple[int, int], list[int]] = {}
    for at, (hop, cause) in enumerate(zip(rows["hop"].tolist(), rows["cause"].tolist(), strict=True)):
        of_kind = by_kind.setdefault((hop, cause), [])
        if len(of_kind) < most:
            of_kind.append(at)
    turns = sorted((turn, at) for of_kind in by_kind.values() for turn, at in enumerate(of_kind))[:most]
    return [_loss(account, names, rows[at]) for _, at in turns]


def _loss(account: Account, names: Names, row: Any) -> dict[str, Any]:
    stream = int(row["stream"])
    return {
        "t_s": round((int(row["intended_ns"]) - account.zero_ns) / NS_PER_S, 6),
        "client": int(row["client"]),
        "seq": int(row["seq"]),
        "publisher": names.publisher_of(stream),
        "channel": names.channel_of(stream),
        "node": names.node(int(row["node"])),
        "hop": Hop(int(row["hop"])).label,
        "cause": Cause(int(row["cause"])).label,
        "fault": names.fault(account.faults[int(row["fault"])]) if row["fault"] >= 0 else None,
    }


def render_losses(found: Sequence[Mapping[str, Any]], total: int, run: str) -> str:
    """The losses as a table, and what to type for the story of one."""
    if not found:
        return "Nothing was lost.\n"
    some = f"; {len(found)} of them, of each hop and cause in turn" if len(found) < total else ""
    lines = [f"{text.count(total)} lost{some}:", "", *_columns(found)]
    first = found[0]
    lines += ["", "The story of one:", f"  fanlab explain {run} --client {first['client']} --seq {first['seq']}"]
    return "\n".join(lines) + "\n"


def _columns(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    rows = [("client", "seq", "publisher", "hop", "cause", "fault")]
    rows += [
        (
            str(one["client"]),
            str(one["seq"]),
            text.clean(one["publisher"], 16),
            words.hop(one["hop"]),
            text.label(one["cause"]),
            text.clean(one["fault"] or "", 30),
        )
        for one in found
    ]
    wide = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for client, seq, *others in rows:
        numbers = [f"{client:>{wide[0]}}", f"{seq:>{wide[1]}}"]
        yield "  " + "  ".join([*numbers, *(f"{cell:<{w}}" for cell, w in zip(others, wide[2:], strict=True))]).rstrip()
