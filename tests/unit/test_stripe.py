"""Journals that survive the death of whoever writes them."""

import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from fanlab.ledger.records import INTENT, INTENT_DTYPE
from fanlab.ledger.stripe import MAX_PAYLOAD, Frame, Kind, StripeReader, StripeWriter, heartbeat_ns, json_lines
from fanlab.seed import rng

HEAD = 12


def read(path: Path) -> tuple[list[Frame], StripeReader]:
    reader = StripeReader(path)
    return list(reader), reader


@pytest.fixture
def stripe(tmp_path) -> Path:
    path = tmp_path / "a.stripe"
    with StripeWriter(path, {"role": "clients", "worker": 3}) as writer:
        writer.events([{"t": 1, "ev": "left", "client": 0}, {"t": 2, "ev": "left", "client": 1}])
        writer.write(Kind.DELIVERIES, b"x" * 64)
        writer.write(Kind.DELIVERIES, b"")
        writer.heartbeat(77)
    return path


def test_what_was_written_is_read_back(stripe):
    frames, reader = read(stripe)
    assert [frame.kind for frame in frames] == [
        Kind.START, Kind.EVENTS, Kind.DELIVERIES, Kind.HEARTBEAT, Kind.END
    ]  # fmt: skip
    assert json_lines(frames[1]) == [{"t": 1, "ev": "left", "client": 0}, {"t": 2, "ev": "left", "client": 1}]
    assert heartbeat_ns(frames[3]) == 77
    assert (reader.torn, reader.corrupt, reader.closed) == (0, 0, True)


def test_a_stripe_is_never_written_over(stripe):
    with pytest.raises(FileExistsError):
        StripeWriter(stripe, {})


def test_what_no_reader_would_take_is_refused(tmp_path):
    with StripeWriter(tmp_path / "a.stripe", {}) as writer:
        with pytest.raises(ValueError, match="write it in parts"):
            writer.write(Kind.DELIVERIES, bytes(MAX_PAYLOAD + 1))
        writer.write(Kind.DELIVERIES, bytes(MAX_PAYLOAD))
    frames, reader = read(tmp_path / "a.stripe")
    assert len(frames[1].payload) == MAX_PAYLOAD
    assert reader.closed


def test_cut_at_any_byte_gives_whole_frames_and_one_torn_at_most(stripe, tmp_path):
    whole, _ = read(stripe)
    data, cut = stripe.read_bytes(), tmp_path / "cut.stripe"
    ends = [0]
    for frame in whole:
        ends.append(ends[-1] + HEAD + len(frame.payload))
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        frames, reader = read(cut)
        assert frames == whole[: sum(end <= length for end in ends) - 1]
        assert (reader.torn, reader.corrupt) == (length not in ends, 0)
        assert not reader.closed


def test_a_flipped_bit_is_never_taken_for_data(stripe, tmp_path):
    whole, _ = read(stripe)
    data, flipped = stripe.read_bytes(), tmp_path / "flipped.stripe"
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            flipped.write_bytes(damaged)
            frames, reader = read(flipped)
            assert all(frame in whole for frame in frames), (at, bit)
            assert (reader.torn + reader.corrupt > 0) == (frames != whole), (at, bit)


FRAMES = [b"one", b"two", b"three", b"four"]


def test_a_stripe_begins_with_what_wrote_it_and_the_schema(stripe):
    assert json_lines(read(stripe)[0][0]) == [{"schema": 1, "role": "clients", "worker": 3}]


def test_frames_are_put_at_the_end_whatever_else_is_written_there(tmp_path):
    path = tmp_path / "a.stripe"
    with StripeWriter(path, {}) as writer:
        with path.open("ab") as file:
            file.write(b"x" * 100)
        writer.heartbeat(5)
    data = path.read_bytes()
    assert data.count(b"x" * 100) == 1
    assert data.index(b"FLH") == data.index(b"x") + 100


def test_all_may_read_a_stripe_and_its_owner_alone_may_write_it(tmp_path):
    before = os.umask(0)
    try:
        StripeWriter(tmp_path / "a.stripe", {}).close()
    finally:
        os.umask(before)
    assert (tmp_path / "a.stripe").stat().st_mode & 0o777 == 0o644


def test_a_stripe_is_closed_once_and_takes_nothing_afterwards(tmp_path):
    writer = StripeWriter(tmp_path / "a.stripe", {})
    writer.close({"foreign": 1})
    whole, _ = read(tmp_path / "a.stripe")
    with pytest.raises(OSError, match="Bad file descriptor"):
        writer.heartbeat(5)
    writer.close({"foreign": 2})
    assert read(tmp_path / "a.stripe")[0] == whole
    assert whole[-1] == Frame(Kind.END, b'{"foreign": 1}')


def test_a_stripe_ends_with_an_object_even_if_there_is_nothing_to_say(stripe):
    assert read(stripe)[0][-1] == Frame(Kind.END, b"{}")


def test_a_process_without_a_standard_input_closes_its_stripe_too(tmp_path):
    kept = os.dup(0)
    os.close(0)
    try:
        with StripeWriter(tmp_path / "a.stripe", {}):
            assert os.fstat(0).st_ino == (tmp_path / "a.stripe").stat().st_ino
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    assert read(tmp_path / "a.stripe")[1].closed


def framed(*payloads: bytes, kind: Kind = Kind.WITNESS) -> list[bytes]:
    """Each as a frame."""
    return [_head(payload, kind=kind.encode()) + payload for payload in payloads]


def _head(payload: bytes, *, magic: bytes = b"FL", kind: bytes = b"W", length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return struct.pack("<2sccII", magic, kind, b"\0", size, zlib.crc32(kind + payload))


def spoilt(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 1])


@pytest.mark.parametrize(
    ("bad", "left"), [((), FRAMES), ((0,), FRAMES[1:]), ((1, 2), [b"one", b"four"]), ((0, 1, 2, 3), [])]
)
def test_frames_whose_sum_is_wrong_are_counted_and_hide_no_other(tmp_path, bad, left):
    frames = [spoilt(frame) if at in bad else frame for at, frame in enumerate(framed(*FRAMES))]
    path = tmp_path / "a.stripe"
    path.write_bytes(b"".join(frames))
    found, reader = read(path)
    assert [frame.payload for frame in found] == left
    assert (reader.torn, reader.corrupt, reader.closed) == (0, len(bad), False)
    assert reader.skipped == [(Kind.WITNESS, len(FRAMES[at])) for at in bad]


@pytest.mark.parametrize(
    "head",
    [
        _head(b"lost", magic=b"FX"),
        _head(b"lost", kind=b"?"),
        _head(b"lost", kind=b"\xff"),
        _head(b"lost", length=MAX_PAYLOAD + 1),
    ],
)
@pytest.mark.parametrize("bad", [0, 2])
def test_after_a_head_that_is_none_nothing_is_trusted(tmp_path, head, bad):
    path = tmp_path / "a.stripe"
    one, two, three, four = framed(*FRAMES)
    path.write_bytes(b"".join([one, *[spoilt(two)] * bad, head, b"lost", three, four]))
    found, reader = read(path)
    assert [frame.payload for frame in found] == [b"one"]
    assert (reader.torn, reader.corrupt, reader.closed) == (0, bad + 1, False)


def test_only_a_stripe_that_ends_in_order_is_closed(tmp_path):
    path = tmp_path / "a.stripe"
    end, more = framed(b"{}", kind=Kind.END)[0], framed(b"more")[0]
    for data, closed in ((b"", False), (end, True), (end + more, False), (more + end, True)):
        path.write_bytes(data)
        assert read(path)[1].closed is closed


WRITER = """
import sys
from pathlib import Path
from fanlab.ledger.records import INTENT
from fanlab.ledger.stripe import Kind, StripeWriter
stripe = StripeWriter(Path(sys.argv[1]), {"role": "publishers", "worker": 0})
seq = 0
while True:
    rows = b"".join(INTENT.pack(seq + k, seq + k, 0, 0) for k in range(1, 101))
    stripe.write(Kind.INTENTS, rows)
    seq += 100
    sys.stdout.write(f"{seq}\\n")  # the acknowledgement: all up to here is written
    sys.stdout.flush()
"""


@pytest.mark.parametrize("seed", range(6))
def test_sigkill_loses_no_acknowledged_record(tmp_path, seed):
    path = tmp_path / "killed.stripe"
    wanted = rng(seed, "kill").randint(1, 3000) * 100
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = 0
        while acknowledged < wanted:
            acknowledged = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        said = [line for line in process.stdout.read().split("\n")[:-1] if line]
        acknowledged = int(said[-1]) if said else acknowledged
    frames, reader = read(path)
    rows = b"".join(frame.payload for frame in frames if frame.kind is Kind.INTENTS)
    seqs = [seq for _, seq, _, _ in INTENT.iter_unpack(rows)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) >= acknowledged
    assert len(seqs) <= acknowledged + 200  # one frame written and not yet said, at most
    assert reader.torn <= 1
    assert reader.corrupt == 0
    assert not reader.closed
    assert INTENT_DTYPE.itemsize == INTENT.size
