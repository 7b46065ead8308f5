"""Stories: golden texts for each way in which one can end, from histories written by hand."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fanlab.analysis.names import names_of
from fanlab.errors import ScenarioError
from fanlab.ledger.account import account
from fanlab.ledger.clocks import ClockAccount, Span
from fanlab.ledger.closeup import close_up
from fanlab.ledger.records import Status
from fanlab.report.explain import render, render_losses, some_losses, stories
from fanlab.report.story import tell
from support.histories import History, mark, ns, write_lines

GOLDEN = Path(__file__).parents[1] / "golden" / "stories"


def crash(**how):
    """Three clients: 0 and 1 on node-1, 2 on node-2. node-1 dies at 300 ms; client 0 is back on node-2 at 600 ms."""
    history = History(clients=3, nodes=2, **how)
    for client, node in ((0, 0), (1, 0), (2, 1)):
        history.subscribe(client, node=node)
    history.fault("crash", "node-1", 300, 800)
    for seq, at in ((1, 100), (2, 299.5), (3, 400), (4, 700)):
        history.publish(seq, at, receivers=3 if at < 300 else 2).witnessed(seq, at + 0.3)
        history.fan_out(1, seq, at + 0.4).deliver(2, seq, at + 0.8, node=1)
    history.fan_out(0, 1, 100.4, n=2).deliver(0, 1, 101).deliver(1, 1, 101.25)
    for client in (0, 1):
        history.close(client, 302)
    history.event(550, "connecting", 0, node=1, attempt=0).event(551, "failed", 0, node=1, error="timed out")
    history.subscribe(0, node=1, at=600).deliver(0, 4, 701, node=1)
    return history


def gap():
    """Redis drops the node at 300 ms, which is subscribed again at 420 ms; Redis is watched."""
    history = History(clients=1, nodes=1).subscribe(0).fault("redis-kill-pubsub", "redis", 300, 301)
    history.node_line(0, -1900, "redis", state="up").node_line(0, -1600, "subscribed", ch="news")
    for seq, at in ((1, 200), (2, 350), (3, 500)):
        history.publish(seq, at, receivers=2 if seq != 2 else 1).witnessed(seq, at + 0.3)
        if seq != 2:
            history.fan_out(0, seq, at + 0.4).deliver(0, seq, at + 1)
    history.node_line(0, 301, "redis", state="down", error="closed by server", why="closed")
    history.node_line(0, 419, "redis", state="up").gap(0, 250, 420).node_line(0, 420, "subscribed", ch="news")
    return history


REDIS_LINES = [
    {"t": ns(-2000), "ev": "watch", "state": "up"},
    {"t": ns(-1600), "before": ns(-1650), "ev": "subscriber", "id": 7, "name": "node-1", "addr": "127.0.0.1:5",
     "node": "node-1", "sub": 1, "psub": 0},
    {"t": ns(340), "before": ns(290), "ev": "gone", "id": 7, "node": "node-1"},
    {"t": ns(345), "before": ns(340), "ev": "gone", "id": 8, "node": None},
    {"t": ns(440), "before": ns(390), "ev": "subscriber", "id": 9, "name": "node-1", "addr": "127.0.0.1:6",
     "node": "node-1", "sub": 1, "psub": 0},
    {"t": ns(900), "ev": "buffer_kill", "id": 9, "name": "node-1", "addr": "127.0.0.1:6", "node": "node-1",
     "omem": 33_554_432},
]  # fmt: skip


def slow():
    """Client 1 reads too slowly: the node drops message 2 for it, and says so."""
    history = History(clients=2, nodes=1).subscribe(0).subscribe(1)
    for seq, at in ((1, 100), (2, 200), (3, 300)):
        history.publish(seq, at).deliver(0, seq, at + 1)
        history.fan_out(0, seq, at + 0.5, n=1 if seq == 2 else 2)
    history.node_line(0, 200.5, "drop", ch="news", mark=mark(2), n=1, why="slow", who=[1])
    return history.deliver(1, 1, 101.5).deliver(1, 3, 301.5)


def out_of_memory():
    """A limit at 200 ms for which the kernel kills the node at 300 ms, as `crash` has it."""
    history = crash()
    history.faults[0] |= {"kind": "memory-limit", "at_ns": 200_000_000}
    history.stamps = [line | {"kind": "memory-limit"} for line in history.stamps]
    for line, at in zip(history.stamps, (200, 201), strict=False):
        line["t"] = ns(at)
    return history.ended(0, 301, fault=0)


def cut_link():
    """The way from the node to its client is cut from 150 ms on, and the client gives up at 400 ms."""
    history = bare().fault("partition", "node-1", 150, 600, link="clients", mode="drop", direction="both")
    for seq, at in ((1, 100), (2, 200)):
        history.publish(seq, at).fan_out(0, seq, at + 0.5)
    return history.deliver(0, 1, 101).close(0, 400, reason="no answer to a ping within 0.2 s")


def lagging():
    """Client 1 asks at 60 ms; its node hands out what was published at 20 ms only then, to client 0, too."""
    history = History(clients=2, nodes=1).subscribe(0).subscribe(1, at=59, lag=5)
    for seq, at in ((1, 20), (2, 30), (3, 100)):
        history.publish(seq, at).deliver(0, seq, max(at + 1, 70 + seq)).fan_out(0, seq, max(at, 69 + seq), n=2)
    return history.deliver(1, 1, 71.5).deliver(1, 3, 101.5)


def full_redis():
    """As `gap`, but Redis lets nobody in when the node wants to come back."""
    return gap().fault("redis-maxclients", "redis", 280, 400)


def bare(**how):
    """One client on one node that keeps no journal."""
    return History(clients=1, nodes=1, **how).subscribe(0)


CASES = {
    "delivered": (crash, "2", 3),
    "lost-while-reconnecting": (crash, "readers:0", 3),
    "lost-on-the-next-node": (
        lambda: crash().publish(5, 601.3, lag=0.05).witnessed(5, 601.5)
        .fan_out(1, 5, 601.6).deliver(2, 5, 601.9, node=1),
        "0", 5,
    ),
    "lost-and-never-back": (crash, "1", 4),
    "lost-in-a-dying-node": (crash, "0", 2),
    "lost-in-a-gap": (gap, "0", 2),
    "lost-to-a-full-buffer": (slow, "1", 2),
    "lost-for-want-of-memory": (out_of_memory, "0", 2),
    "lost-on-a-cut-link": (cut_link, "0", 2),
    "lost-to-a-full-redis": (full_redis, "0", 2),
    "lost-as-the-publish-failed": (
        lambda: bare().fault("redis-restart", "redis", 90, 200).publish(1, 100, status=Status.FAILED), "0", 1
    ),
    "lost-unexplained": (lambda: bare().publish(1, 100).publish(2, 200).deliver(0, 2, 201), "0", 1),
    "indeterminate-publish": (lambda: bare().publish(1, 100, status=Status.TIMED_OUT, took=400), "0", 1),
    "indeterminate-publisher-died": (lambda: bare().publish(1, 100, status=None), "0", 1),
    "indeterminate-subscribing": (lambda: History(nodes=1).subscribe(0, at=95, took=1, lag=20).publish(1, 100), "0", 1),
    "indeterminate-behind": (lagging, "1", 2),
    "delivered-behind": (lagging, "1", 1),
    "not-owed-before": (lambda: History(nodes=1).subscribe(0, at=200).publish(1, 100), "0", 1),
    "not-owed-after": (
        lambda: bare().close(0, 50, own=True, code=1000).leave(0, 50).publish(1, 100), "0", 1
    ),
    "not-owed-unsent": (lambda: bare().publish(1, 100, status=Status.UNSENT), "0", 1),
    "not-owed-another-channel": (
        lambda: History(channels=("news", "jobs"), streams=("jobs",), asked=("news",), nodes=1).subscribe(0)
        .publish(1, 100),
        "0", 1,
    ),
    "warm-up": (lambda: bare().publish(1, -100).deliver(0, 1, -99), "0", 1),
    "warm-up-missing": (lambda: bare().publish(1, -100), "0", 1),
    "unexpected": (
        lambda: History(channels=("news", "jobs"), streams=("jobs",), asked=("news",), nodes=1).subscribe(0)
        .publish(1, 100).deliver(0, 1, 101),
        "0", 1,
    ),
    "duplicated-and-reordered": (
        lambda: bare().publish(1, 100).publish(2, 110).deliver(0, 2, 111).deliver(0, 1, 112).deliver(0, 1, 113), "0", 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_story_is_the_golden_one(name, tmp_path):
    make, who, seq = CASES[name]
    rundir = make().write(tmp_path)
    if make in {gap, full_redis}:
        write_lines(rundir.journal / "redis.jsonl", REDIS_LINES)
    (story,) = stories(rundir, who, seq)
    told, path = render(story), GOLDEN / f"{name}.txt"
    if os.environ.get("FANLAB_RENEW_GOLDEN"):
        path.write_text(told, encoding="utf-8")
    assert told == path.read_text(encoding="utf-8"), "as meant? FANLAB_RENEW_GOLDEN=1 writes it anew"
    assert story.outcome == {
        "duplicated": "delivered",
        "unexpected": "delivered",
        "not": "not_owed",
        "warm": "warm_up",
    }.get(name.split("-")[0], name.split("-")[0])


def test_no_golden_story_is_left_over():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


def test_the_json_says_the_same(tmp_path):
    (story,) = stories(crash().write(tmp_path), "0", 3)
    told = story.to_json()
    assert (told["outcome"], told["cause"], told["fault"]) == ("lost", "client_reconnecting", "crash node-1 @300ms")
    assert told["chain"][0] == "crash node-1 @300ms"
    assert told["chain"][-1] == "client reconnecting"
    assert told["others"] == {"node_received": 0, "node_lost": 1, "received": 1, "lost": 1}
    assert [one["t_s"] for one in told["moments"]] == sorted(one["t_s"] for one in told["moments"])
    assert told["latency_ms"] is None
    (story,) = stories(crash().write(tmp_path / "again"), "2", 3)
    assert story.to_json()["latency_ms"] == pytest.approx(0.8)


def chain_by(kind, *, target="node-1", cause, **settings):
    """How the loss of a message that was published at 200 ms goes back to a fault of 150 to 400 ms."""
    history = bare().fault(kind, target, 150, 400, **settings).publish(1, 100).deliver(0, 1, 101).publish(2, 200)
    if cause == "slow":
        return history.fan_out(0, 2, 200.5, n=0).drop(0, 2, 200.5, "slow", who=[0])
    if cause in {"closing", "write_failed"}:
        return history.fan_out(0, 2, 200.5, n=0).drop(0, 2, 200.5, cause, who=[0]).close(0, 202)
    return history.fan_out(0, 2, 200.5).close(0, 300, reason="no answer to a ping within 0.1 s")


@pytest.mark.parametrize(
    ("kind", "cause", "between"),
    [
        ("slow-clients", "slow", "node-1 could not get rid of what came for the client"),
        ("reconnect-storm", "closing", "node-1 was losing the client's connection"),
        ("connection-reset", "write_failed", "node-1 could not write to the client"),
        ("half-open", "", "node-1 and the client did not reach each other"),
        ("cpu-throttle", "", "node-1 had too little CPU to go on"),
        ("memory-limit", "", "node-1 had too little memory to go on"),
    ],
)
def test_what_lies_between_a_fault_and_a_loss(kind, cause, between, tmp_path):
    (story,) = stories(chain_by(kind, cause=cause, link="clients").write(tmp_path), "0", 2)
    assert story.outcome == "lost"
    assert story.chain[:2] == (f"{kind} node-1 @150ms", between)
    assert len(story.chain) == 3


def test_a_cut_off_from_redis_is_told_as_such(tmp_path):
    history = bare().fault("partition", "node-1", 150, 400, link="redis").publish(1, 200)
    (story,) = stories(history.write(tmp_path), "0", 1)
    assert story.chain == ("partition node-1 @150ms", "node-1 and Redis did not reach each other", "partition")


def two_streams():
    history = History(clients=1, nodes=1, channels=("news", "jobs"), streams=("news", "jobs", "news")).subscribe(0)
    for stream in range(3):
        history.publish(1, 100 + stream, stream=stream).deliver(0, 1, 105, stream=stream)
    return history.publish(2, 200, stream=1)


def test_a_number_of_several_streams_is_told_of_each_unless_one_is_chosen(tmp_path):
    rundir = two_streams().write(tmp_path)
    assert [story.publisher for story in stories(rundir, "0", 1)] == ["publisher-1", "publisher-2", "publisher-3"]
    assert [story.publisher for story in stories(rundir, "0", 1, channel="news")] == ["publisher-1", "publisher-3"]
    assert [story.publisher for story in stories(rundir, "0", 1, publisher="publisher-2")] == ["publisher-2"]
    assert [story.publisher for story in stories(rundir, "0", 2)] == ["publisher-2"], "the others have no such number"


def test_a_stream_that_does_not_concern_the_client_is_told_only_if_no_other_has_the_number(tmp_path):
    history = History(channels=("news", "jobs"), streams=("news", "jobs"), asked=("news",), nodes=1).subscribe(0)
    history.publish(1, 100).deliver(0, 1, 101).publish(1, 100, stream=1).publish(2, 200, stream=1)
    rundir = history.write(tmp_path)
    assert [story.channel for story in stories(rundir, "0", 1)] == ["news"]
    assert [story.channel for story in stories(rundir, "0", 2)] == ["jobs"]
    assert [story.outcome for story in stories(rundir, "0", 1, channel="jobs")] == ["not_owed"]


@pytest.mark.parametrize(
    ("who", "seq", "of", "told"),
    [
        ("3", 1, {}, "--client: there is no 3: this run has clients 0 to 2, which are readers:0 to readers:2"),
        ("readers:3", 1, {}, "there is no readers:3"),
        ("writers:0", 1, {}, "there is no writers:0"),
        ("one", 1, {}, "there is no one"),
        ("", 1, {}, "--client: there is no :"),
        ("-1", 1, {}, "there is no -1"),
        ("0", 5, {}, "--seq: there is no 5: publisher-1 sent 1 to 4 on news"),
        ("0", 1, {"publisher": "x"}, "--publisher: there is no x: this run has publisher-1"),
        ("0", 1, {"channel": "x"}, "--channel: there is no x: this run has news"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(who, seq, of, told, tmp_path):
    with pytest.raises(ScenarioError) as caught:
        stories(crash().write(tmp_path), who, seq, **of)
    assert told in str(caught.value)
    assert caught.value.exit_code == 2


def test_some_losses_take_turns_over_hops_and_causes(tmp_path):
    rundir = crash().write(tmp_path)
    found, total = some_losses(rundir)
    assert total == len(found) == 5
    kinds = [(one["hop"], one["cause"]) for one in found]
    assert len(set(kinds[: len(set(kinds))])) == len(set(kinds)), "each kind once before any comes again"
    (story,) = stories(rundir, str(found[0]["client"]), found[0]["seq"])
    assert (story.hop, story.cause, story.fault) == (found[0]["hop"], found[0]["cause"], found[0]["fault"])
    few, total = some_losses(rundir, "0", most=1)
    assert (len(few), total, few[0]["client"]) == (1, 2, 0)
    shown = render_losses(few, total, "RUN")
    assert "2 lost; 1 of them" in shown
    assert f"fanlab explain RUN --client 0 --seq {few[0]['seq']}" in shown
    assert render_losses([], 0, "RUN") == "Nothing was lost.\n"


def test_what_the_account_decided_is_what_is_told_of_every_pair(tmp_path):
    """Each pair of a run has one story, and their outcomes add up to the ledger."""
    rundir = crash().write(tmp_path)
    outcomes = [stories(rundir, str(client), seq)[0].outcome for client in range(3) for seq in range(1, 5)]
    tally = account(rundir).measure
    assert outcomes.count("delivered") == tally.delivered
    assert outcomes.count("lost") == tally.lost
    assert outcomes.count("indeterminate") == tally.indeterminate
    assert len(outcomes) == tally.owed + outcomes.count("not_owed")


@pytest.mark.parametrize(
    ("clock", "latency_ms", "late", "told"),
    [
        (
            ClockAccount("exchange", Span(400_000, 600_000)),
            0.5,
            "0.5 ms ± 0.1 ms after",
            "several clocks: offset 0.5 ms put right, ± 0.1 ms.",
        ),
        (
            ClockAccount("exchange", Span(0, 2_000_000)),
            None,
            "at most 1 ms after",
            "several clocks: offset 1 ms put right, ± 1 ms.",
        ),
        (ClockAccount("unknown"), 1.0, "1 ms ± unknown after", "clocks not compared: ± unknown."),
    ],
)
def test_between_two_clocks_a_delivery_is_as_late_as_the_summary_has_it(clock, latency_ms, late, told, tmp_path):
    rundir = crash().write(tmp_path)
    manifest, made = rundir.read_manifest(), account(rundir)
    seen = close_up(rundir, names_of(manifest).plan, manifest["run_tag"], 0, 1)
    story = tell(manifest, replace(made, clock=clock), seen, 0)
    assert story.latency_ms == latency_ms
    assert [what for _, _, what in story.moments if "receives it" in what] == [
        f"receives it from node-1, {late} the time meant"
    ]
    assert story.ending[0].endswith(f"{late} the time at which it was meant to be sent.")
    assert story.ending[-1].endswith(told)


def test_hostile_names_stay_on_their_line(tmp_path):
    history = bare().close(0, 150, code=1006)
    history.events[-1]["reason"] = "\x1b[31mred\nLOST at nowhere\u202e"
    history.node_line(0, 120, "redis", state="down", error="two\nlines\x07")
    (story,) = stories(history.publish(1, 160).write(tmp_path), "0", 1)
    told = render(story)
    assert not set(told) & set("\x1b\x07\u202e")
    assert "\nLOST at nowhere" not in told
    assert "two lines" in told


def test_a_line_of_a_node_that_is_damaged_is_passed_over(tmp_path):
    rundir = gap().write(tmp_path)
    with (rundir.journal / "node-1.jsonl").open("a") as journal:
        journal.write('{"ev":"gap","ch":"news","t":1}\n{"ev":"msg"\n[]\n{"ev":"redis","t":"soon"}\n')
        journal.write('{"t":1,"ev":"msg","mark":"fl1zzzzzzzz","n":1}\n')
    (story,) = stories(rundir, "0", 2)
    assert story.cause == "resubscribe_gap"


def test_very_many_lines_are_bounded(tmp_path):
    history = bare().publish(1, 100).deliver(0, 1, 101)
    for at in range(100):
        history.node_line(0, 50 + at, "redis", state="up")
    (story,) = stories(history.write(tmp_path), "0", 1)
    assert sum(who == "node-1" for _, who, _ in story.moments) <= 25
    assert any("more of its lines" in what for _, _, what in story.moments)
