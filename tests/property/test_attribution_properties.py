"""Whatever is lost and whoever tells of it: the account adds up, and where a loss happened is right or unknown."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanlab.ledger.account import account
from fanlab.ledger.causes import Cause, Hop
from fanlab.ledger.result import Account
from support.examples import examples
from support.planting import BY_ITSELF, NODES, PERIOD_MS, PLANTS, Story, Truths

CASES = settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
SPACING_MS = 2700  # what comes to light within 2 s of a fault goes back to it


def random_story(random: Random, plants: int) -> Story:
    """One to three things go wrong, one after the other, on any nodes that still live."""
    story = Story(
        journaling=random.random() < 0.5,
        witness=random.random() < 0.5,
        watch=random.random() < 0.5,
        named=random.random() < 0.5,
        per_node=random.choice((1, 2, 3)),
        end=SPACING_MS * plants + 500,
    )
    whole = list(range(NODES))
    for place in range(plants):
        plant = random.choice([*PLANTS.values(), BY_ITSELF])
        at = place * SPACING_MS + random.randrange(300, 800, PERIOD_MS) + PERIOD_MS / 2
        node = whole.pop(random.randrange(len(whole)))
        plant(story, node, at)
    return story


def reckoned(story: Story, *, less: Sequence[str] = ()) -> tuple[Account, Truths]:
    """The account, after journals were taken away."""
    history, truths = story.told()
    folder = Path(tempfile.mkdtemp(prefix="fanlab-test-"))
    try:
        rundir = history.write(folder / "run")
        for name in less:
            (rundir.journal / name).unlink(missing_ok=True)
        return account(rundir), truths
    finally:
        shutil.rmtree(folder)


def adds_up(found: Account) -> None:
    """Every part of the losses sums to all of them."""
    lost = found.measure.lost
    assert found.measure.balanced
    assert len(found.losses) == lost == int(found.lost.sum())
    assert np.isin(found.losses["cause"], list(Cause)).all()
    assert np.isin(found.losses["hop"], list(Hop)).all()
    clients = len(found.by_client["lost"])
    assert np.bincount(found.losses["client"], minlength=clients).tolist() == found.by_client["lost"].tolist()
    of_faults = found.losses["fault"][found.losses["fault"] >= 0]
    measured = [fault.measured for fault in found.faults]
    assert np.bincount(of_faults, minlength=len(measured)).tolist() == measured


@CASES
@given(st.integers(0, 2**32), st.integers(1, 3))
def test_the_hop_is_never_wrong_whatever_evidence_is_missing(seed, plants):
    random = Random(seed)  # noqa: S311 - one draw decides all: fast, and still reproducible
    story = random_story(random, plants)
    journals = [f"node-{node + 1}.jsonl" for node in range(NODES)]
    less = [name for name in (*journals, "witness.stripe", "redis.jsonl") if random.random() < 0.3]
    found, truths = reckoned(story, less=less)
    adds_up(found)
    assert {(int(row["client"]), int(row["seq"])) for row in found.losses} == truths.keys()
    for row in found.losses:
        truth = truths[int(row["client"]), int(row["seq"])]
        assert Hop(row["hop"]) in (truth.hop, Hop.UNKNOWN), (row, truth)


@CASES
@given(st.integers(0, 2**32))
def test_what_is_told_with_names_is_told_right(seed):
    random = Random(seed)  # noqa: S311
    story = random_story(random, 2)
    story.journaling = story.witness = story.watch = story.named = True
    story.history.evidence = {"witness": True}
    found, truths = reckoned(story)
    adds_up(found)
    for row in found.losses:
        truth = truths[int(row["client"]), int(row["seq"])]
        assert Cause(row["cause"]) is truth.cause, (row, truth)
        assert int(row["fault"]) == truth.fault, (row, truth)
