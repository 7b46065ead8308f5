"""The open loop without sockets: every slot ends in exactly one outcome, and the right one."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from fanlab.ledger.records import Status
from fanlab.load.publishing import InFlight, Outcome, Schedule, Slot
from fanlab.load.resp import ErrorReply

TIMEOUT_NS = 100


class Told:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.flight = InFlight(self.outcomes.append)

    def send(self, *seqs: int, at_ns: int = 0, begins: int = 0, timeout_ns: int = TIMEOUT_NS) -> None:
        for seq in seqs:
            self.flight.sent(Slot(at_ns, 0, seq), at_ns, begins, timeout_ns)

    @property
    def statuses(self) -> dict[int, Status]:
        return {outcome.seq: outcome.status for outcome in self.outcomes}


def test_replies_go_to_their_messages() -> None:
    told = Told()
    told.flight.preamble(2)
    told.send(1, 2, 3)
    for reply in (b"OK", b"OK", 4, ErrorReply("OOM"), 0):
        told.flight.reply(reply, 50)
    assert told.statuses == {1: Status.OK, 2: Status.FAILED, 3: Status.OK}
    assert [outcome.receivers for outcome in told.outcomes] == [4, -1, 0]
    assert told.flight.errors == {"OOM": 1}
    assert told.flight.open == 0


def test_a_reply_after_the_timeout_is_not_listened_to_and_keeps_the_order() -> None:
    told = Told()
    told.send(1, at_ns=0)
    told.send(2, at_ns=60)
    assert told.flight.next_expiry_ns() == 100
    told.flight.expire(99)
    assert not told.outcomes
    told.flight.expire(100)
    assert told.statuses == {1: Status.TIMED_OUT}
    told.flight.reply(7, 120)  # to message 1: too late
    told.flight.reply(8, 121)
    assert told.statuses == {1: Status.TIMED_OUT, 2: Status.OK}
    assert told.outcomes[-1].receivers == 8
    assert told.flight.next_expiry_ns() is None


def test_timeouts_of_different_lengths() -> None:
    told = Told()
    told.send(1, timeout_ns=1000)
    told.send(2, timeout_ns=10)
    assert told.flight.next_expiry_ns() == 10
    told.flight.expire(500)
    assert told.statuses == {2: Status.TIMED_OUT}


def test_a_broken_connection_leaves_unknown_what_went_out_and_failed_what_did_not() -> None:
    told = Told()
    told.send(1, begins=0)
    told.send(2, begins=100)
    told.send(3, begins=200)
    told.flight.broken(handed_over=150, now_ns=9)
    assert told.statuses == {1: Status.UNKNOWN, 2: Status.UNKNOWN, 3: Status.FAILED}
    told.send(4)
    told.flight.reply(1, 10)  # the next connection's first reply is the next message's
    assert told.statuses[4] is Status.OK


@given(st.lists(st.sampled_from(["send", "reply", "error", "expire", "break"]), max_size=60))
def test_every_message_ends_exactly_once(steps: list[str]) -> None:
    told = Told()
    seqs, now = count(1), 0
    sent = awaited = 0
    for step in steps:
        now += 30
        match step:
            case "send":
                told.send(next(seqs), at_ns=now, begins=sent)
                sent, awaited = sent + 1, awaited + 1
            case "reply" | "error" if awaited:
                told.flight.reply(1 if step == "reply" else ErrorReply("ERR"), now)
                awaited -= 1
            case "expire":
                told.flight.expire(now)
            case "break":
                told.flight.broken(sent, now)
                awaited = 0
    told.flight.broken(sent, now)
    assert sorted(outcome.seq for outcome in told.outcomes) == list(range(1, sent + 1))
    assert told.flight.open == 0


def test_the_schedule_merges_streams_and_ends_before_its_end() -> None:
    schedule = Schedule(1000, 1100)
    schedule.add(0, iter(range(0, 1000, 40)))
    schedule.add(1, iter(range(10, 1000, 40)))
    assert schedule.next_ns() == 1000
    assert schedule.due(999, 10) == []
    first = schedule.due(1045, 3)
    assert first == [Slot(1000, 0, 1), Slot(1010, 1, 1), Slot(1040, 0, 2)]
    assert schedule.due(9999, 10) == [Slot(1050, 1, 2), Slot(1080, 0, 3), Slot(1090, 1, 3)]  # 1120 is past the end
    assert schedule.next_ns() is None


def test_a_stream_that_is_removed_is_over() -> None:
    schedule = Schedule(0, 1000)
    schedule.add(0, iter(range(0, 1000, 10)))
    schedule.add(1, iter(range(5, 1000, 10)))
    schedule.remove(0)
    assert [slot.stream for slot in schedule.due(100, 4)] == [1, 1, 1, 1]


def test_a_stream_that_comes_later_begins_then() -> None:
    schedule = Schedule(1000, 1200)
    schedule.add(0, iter(range(0, 1000, 40)), 500)  # before the start: from the start
    schedule.add(1, iter(range(5, 1000, 40)), 1100)
    assert schedule.due(1120, 10) == [
        Slot(1000, 0, 1),
        Slot(1040, 0, 2),
        Slot(1080, 0, 3),
        Slot(1105, 1, 1),
        Slot(1120, 0, 4),
    ]
    assert schedule.due(9999, 10) == [Slot(1145, 1, 2), Slot(1160, 0, 5), Slot(1185, 1, 3)]


def test_a_stream_that_comes_back_begins_anew_and_has_no_slot_of_its_past() -> None:
    schedule = Schedule(0, 1000)
    schedule.add(0, iter(range(0, 1000, 10)))
    assert schedule.due(15, 10) == [Slot(0, 0, 1), Slot(10, 0, 2)]
    schedule.remove(0)  # its slot at 20 is in the heap
    schedule.add(0, iter(range(0, 1000, 10)), 17)
    assert schedule.due(47, 10) == [Slot(17, 0, 1), Slot(27, 0, 2), Slot(37, 0, 3), Slot(47, 0, 4)]
