"""RESP2 however the bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlab.errors import HarnessError
from fanlab.load.resp import ErrorReply, Reply, ReplyReader, encode_command


def encoded(reply: Reply) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, ErrorReply):
        return b"-%b\r\n" % reply.text.encode()
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(encoded, reply))
    return b"$%d\r\n%b\r\n" % (len(reply), reply)


errors = st.text(st.characters(codec="ascii", categories=["L", "N", "Zs"]), min_size=1).map(ErrorReply)
simple = st.one_of(st.integers(-(2**63), 2**63 - 1), st.binary(max_size=30), st.none(), errors)
replies = st.recursive(simple, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@given(st.lists(replies, max_size=8), st.lists(st.integers(0, 400), max_size=12))
def test_any_replies_in_any_pieces(expected: list[Reply], cuts: list[int]) -> None:
    data = b"".join(map(encoded, expected))
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = ReplyReader()
    got: list[Reply] = []
    for start, end in pairwise(edges):
        got += reader.feed(data[start:end])
    assert got == expected


def test_simple_strings() -> None:
    assert ReplyReader().feed(b"+OK\r\n:3\r\n") == [b"OK", 3]


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b":x\r\n", b"$abc\r\n"])
def test_what_is_no_resp_is_refused(data: bytes) -> None:
    with pytest.raises(HarnessError, match="no RESP2"):
        ReplyReader().feed(data)


def test_commands() -> None:
    assert encode_command(b"PUBLISH", b"news", b"hello") == b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$5\r\nhello\r\n"
