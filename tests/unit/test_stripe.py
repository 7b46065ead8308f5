"""Journals that survive the death of whoever writes them."""

import os
import signal
import subprocess
import sys
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
