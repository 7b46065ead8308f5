"""Messages that came twice through no fault of a node: published twice, or sent twice by Redis' side.

(Those that a node itself makes, by two subscriptions or a replay, are saboteurs.) Which messages were sent twice is
told by who did it, the actor or the lying proxy. Each copy must be found at each client, nothing else must be, and the
cause must be told from what the witness had.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lines import Line, same_ids
from observe import LENIENT, Stage, observe
from redis.asyncio import Redis

from fanlab.ledger.copies import CopyCause
from fanlab.ledger.odd import Odd
from fanlab.ledger.records import MARK_LENGTH, decode_token

MESSAGES = 7
CLIENTS = 3
REPEATS = 5
AGAIN = "published-again.jsonl"  # in the run directory: the actor's own word for it, in the lines of a lying proxy's
_PROXY: Mapping[str, Any] = {
    "kind": "saboteurs/lying-proxy",
    "env": {"LIE": "duplicate", "LIE_SIDE": "redis", "LIE_COUNT": MESSAGES, "LIE_AFTER": 60, "LIE_SPAN": 200},
}
NODES: Mapping[CopyCause, Mapping[str, Any]] = {
    CopyCause.PUBLISH_RETRIED: {"kind": "websockets"},
    CopyCause.DOUBLE_SUBSCRIPTION: _PROXY,
}


@dataclass(frozen=True, slots=True)
class Copies:
    """Seven messages twice on the way to a node with three clients, and once on the way to another node's."""

    alone: ClassVar[bool] = False
    cause: CopyCause
    repeat: int

    @property
    def name(self) -> str:
        """`copies publish_retried #1`."""
        return f"copies {self.cause.label} #{self.repeat}"

    def run(self, out: Path) -> Sequence[Line]:
        """One run, one line."""
        again = self.cause is CopyCause.PUBLISH_RETRIED
        seen = observe(self._scenario(), out, [_publish_again] if again else [])
        odd = seen.account.odd
        found = {(int(row["client"]), int(row["stream"]), int(row["seq"])) for row in odd}
        truth = seen.rundir.path / AGAIN if again else seen.rundir.journal / "node-1.truth.jsonl"
        messages = set(_sent_twice(truth))
        clients = range(2 * CLIENTS if again else CLIENTS)  # Redis sends to both nodes what is published twice
        planted = {(client, *message) for client in clients for message in messages}
        wrong = [same_ids(found, planted)] if found != planted else []
        if len(messages) != MESSAGES:
            wrong.append(f"{len(messages)} messages were sent twice and not {MESSAGES}")
        if len(odd) != len(found):
            wrong.append(f"{len(odd) - len(found)} found more than once")
        if others := {int(row["kind"]) for row in odd} - {Odd.DUPLICATED}:
            wrong.append(f"odd in another way, too: {', '.join(Odd(kind).label for kind in sorted(others))}")
        if others := {int(row["cause"]) for row in odd} - {self.cause}:
            wrong.append(f"put down to {', '.join(CopyCause(cause).label for cause in sorted(others))}")
        if seen.account.measure.lost:
            wrong.append(f"{seen.account.measure.lost} lost")
        if not seen.agrees:
            wrong.append(f"SQL differs: {seen.disputes[:3]}")
        told = "; ".join(filter(None, wrong)) or f"{len(odd)} copies, all of them {self.cause.label}"
        return [Line(self.name, not wrong, told, seen.agrees)]

    def _scenario(self) -> dict[str, Any]:
        return {
            "name": "copies",
            "question": "Is it told why messages came twice?",
            "seed": self.repeat,
            "topology": {
                "nodes": [
                    {**NODES[self.cause], "env": {**NODES[self.cause].get("env", {}), "LIE_SEED": self.repeat}},
                    {"kind": "websockets"},
                ]
            },
            "channels": ["news"],
            "clients": [
                {"group": f"group-{node}", "count": CLIENTS, "channels": ["news"], "nodes": [f"node-{node}"]}
                for node in (1, 2)
            ],
            "publishers": [{"name": "ticker", "channel": "news", "rate": "100/s"}],
            "phases": {"warm_up": "300ms", "measure": "3s", "drain": {"quiet": "700ms", "deadline": "20s"}},
            "limits": LENIENT,
        }


async def _publish_again(stage: Stage) -> None:
    """What a client library does that repeats a command whose reply was late: the same bytes once more."""
    async with Redis.from_url(stage.redis_url) as connection, connection.pubsub() as heard:
        await stage.at(0.5)
        await heard.subscribe("news")
        done: set[int] = set()
        with (stage.rundir.path / AGAIN).open("w", encoding="utf-8") as truth:
            while len(done) < MESSAGES:
                message = await heard.get_message(ignore_subscribe_messages=True, timeout=1.0)
                token = None if message is None else decode_token(message["data"])
                if token is not None and token.seq not in done and token.seq % 10 == 0:
                    done.add(token.seq)
                    await connection.publish("news", message["data"])
                    mark = message["data"][:MARK_LENGTH].decode()
                    truth.write(json.dumps({"deed": "duplicate", "client": None, "mark": mark}) + "\n")


def _sent_twice(truth: Path) -> Iterator[tuple[int, int]]:
    """(stream, seq) of each deed that its doer noted."""
    for line in truth.read_text(encoding="utf-8").splitlines():
        deed = json.loads(line)
        if deed["deed"] == "duplicate":
            yield int(deed["mark"][7:11], 16), int(deed["mark"][11:19], 16)


def batches(*, quick: bool) -> list[Copies]:
    """Five of each; quick: one of each."""
    return [Copies(cause, repeat) for cause in NODES for repeat in range(1, 2 if quick else REPEATS + 1)]
