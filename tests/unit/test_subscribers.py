"""Redis' list and log as rows: who came, who changed, who went, whom Redis cut off, and when that was on our clock."""

from datetime import datetime

import pytest

from fanlab import clock
from fanlab.rediswatch import owners_by_address
from fanlab.subscribers import Killed, Listed, Subscribers, on_our_clock, parse_killed, parse_listed

CLIENT = (
    "id=4 addr=127.0.0.1:48906 laddr=127.0.0.1:50599 fd=11 name=node-7 age=1 idle=0 flags=P db=0 sub=1 psub=0 ssub=0 "
    "multi=-1 watch=0 qbuf=0 omem=82016 tot-mem=85016 events=rw cmd=psubscribe user=default redir=-1 resp=2 lib-name="
)
OLD_CLIENT = "id=4 addr=127.0.0.1:48906 fd=11 name= age=1 flags=P db=0 sub=1 psub=0 multi=-1 omem=82016 user=default"
AT = "22 Nov 2026 23:30:05.057"


def at(text: str = AT) -> int:
    return round(datetime.strptime(text, "%d %b %Y %H:%M:%S.%f").timestamp() * 1000) * clock.NS_PER_MS  # noqa: DTZ007


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (
            f"13233:M {AT} # Client {CLIENT} scheduled to be closed ASAP for overcoming of output buffer limits.",
            "node-7",
        ),
        (f"7:M {AT} # Client {CLIENT} closed for overcoming of output buffer limits.", "node-7"),
        (f"7:M {AT} # Client {OLD_CLIENT} scheduled to be closed ASAP for overcoming of output buffer limits.", ""),
        (f"1:M {AT} * Client {CLIENT} closed for overcoming of output buffer limits.\r", "node-7"),
    ],
)
def test_a_kill_in_the_log(line: str, name: str) -> None:
    assert parse_killed(line) == Killed((at(),), 4, "127.0.0.1:48906", name, 82016)


@pytest.mark.parametrize(
    "line",
    [
        "",
        f"13233:M {AT} * Ready to accept connections tcp",
        f"13233:M {AT} # Client {CLIENT} closed for being idle",
        f"13233:M {AT} # Client id=x addr=a omem=1 scheduled to be closed ASAP for overcoming of output buffer limits.",
        f"13233:M {AT} # Client id=4 scheduled to be closed ASAP for overcoming of output buffer limits.",
        f"13233:M 22 Foo 2026 23:30:05.057 # Client {CLIENT} closed for overcoming of output buffer limits.",
        f"Client {CLIENT} closed for overcoming of output buffer limits.",
    ],
)
def test_lines_that_are_about_something_else(line: str) -> None:
    assert parse_killed(line) is None


@pytest.mark.parametrize(
    ("walls", "expected"),
    [
        ([1_000_400], 400),
        ([1_000_100], 101),  # the millisecond of the log is cut off: not before the last look
        ([9_999_999], 900),  # another time zone, ahead
        ([5], 101),  # another time zone, behind
        ([5, 1_000_400], 400),  # an hour that came twice: the one that fits
        ([1_000_400, 9_999_999], 400),
        ([], 900),
    ],
)
def test_a_stamp_of_the_log_lies_between_two_looks_at_it(walls: list[int], expected: int) -> None:
    assert on_our_clock(walls, offset_ns=1_000_000, after_ns=101, until_ns=900) == expected


def test_our_clock_now_is_the_wall_clocks_now() -> None:
    wall_ns = clock.now_ns() + clock.wall_offset_ns()
    assert abs(wall_ns / 1e9 - datetime.now().timestamp()) < 60  # noqa: DTZ005


def test_an_entry_of_the_list_of_any_version() -> None:
    assert parse_listed(CLIENT) == Listed(4, "127.0.0.1:48906", "node-7", 1, 0)
    assert parse_listed(OLD_CLIENT).name == ""
    with pytest.raises(KeyError):
        parse_listed("id=4")
    with pytest.raises(ValueError, match="four"):
        parse_listed("id=four addr=127.0.0.1:1 sub=1 psub=0")


def test_who_comes_changes_and_goes() -> None:
    book = Subscribers(frozenset({"node-1", "node-2"}))
    named, box, other = Listed(1, "a:1", "node-1", 1, 0), Listed(2, "a:2", "", 1, 0), Listed(3, "a:3", "cli", 0, 1)
    witness = Listed(9, "a:9", "fanlab-witness", 0, 4)
    assert book.unknown([named, box, other, witness]) == [box, other]
    rows = book.seen(100, 0, [named, box, other, witness], {2: "node-2"})
    assert [(*(row[key] for key in ("id", "name", "addr", "node", "sub", "psub")),) for row in rows] == [
        (1, "node-1", "a:1", "node-1", 1, 0),
        (2, "", "a:2", "node-2", 1, 0),
        (3, "cli", "a:3", None, 0, 1),
        (9, "fanlab-witness", "a:9", None, 0, 4),
    ]
    assert all((row["t"], row["before"], row["ev"]) == (100, 0, "subscriber") for row in rows)
    assert book.unknown([box, other]) == []
    assert book.seen(200, 100, [named, box, other, witness], {}) == []
    rows = book.seen(300, 200, [named, box._replace(sub=2), witness], {})
    assert [(row["ev"], row["id"], row["node"], row.get("sub")) for row in rows] == [
        ("gone", 3, None, None),
        ("subscriber", 2, "node-2", 2),
    ]
    assert {(row["t"], row["before"]) for row in rows} == {(300, 200)}


def test_a_restarted_redis_gives_the_same_id_to_somebody_else() -> None:
    book = Subscribers(frozenset({"node-1", "node-2"}))
    book.seen(100, 0, [Listed(5, "a:1", "node-1", 1, 0)], {})
    rows = book.seen(200, 100, [Listed(5, "a:2", "node-2", 1, 0)], {})
    assert [(row["ev"], row["id"], row["node"]) for row in rows] == [("gone", 5, "node-1"), ("subscriber", 5, "node-2")]


def test_a_killed_box_is_known_again_and_a_stranger_is_nobodys() -> None:
    book = Subscribers(frozenset({"node-1"}))
    book.seen(100, 0, [Listed(4, "127.0.0.1:48906", "", 1, 0)], {4: "node-1"})
    book.seen(200, 100, [], {})
    assert book.killed(150, Killed((), 4, "127.0.0.1:48906", "", 82016)) == {
        "t": 150, "ev": "buffer_kill", "id": 4, "name": "", "addr": "127.0.0.1:48906", "node": "node-1", "omem": 82016,
    }  # fmt: skip
    assert book.killed(150, Killed((), 6, "x", "node-1", 1))["node"] == "node-1"  # killed before it was ever listed
    assert book.killed(150, Killed((), 7, "x", "", 1))["node"] is None


def test_a_black_box_with_an_address_of_its_own_is_known_by_it() -> None:
    listed = [
        Listed(1, "172.20.0.4:50001", "", 1, 0),
        Listed(2, "172.20.0.9:50001", "", 1, 0),
        Listed(3, "[fd00::4]:50001", "", 1, 0),
    ]
    addresses = {"172.20.0.4": "node-1", "fd00::4": "node-2"}
    assert owners_by_address(listed, addresses) == {1: "node-1", 3: "node-2"}
