"""Exchanges of time stamps with the engines, over the lines that carry their orders: see ledger.clocks for what for.

Each round asks every engine once; of a moment's rounds the one with the shortest round trip is kept for each engine.
The way leads through a Locust worker, so a round trip takes a millisecond or more. Half of that bounds the estimate,
but not what is measured on one boot: there, the exchange only confirms that the clock is one.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, TypedDict

from fanlab.clock import now_ns
from fanlab.ledger.clocks import Exchange, Moment, best, unit_of
from fanlab.load.wire import Message

ROUNDS: Final = 8
ANSWER_S: Final = 1.0  # an engine that takes longer has no bound worth having
ROLES: Final = ("clients", "publishers")

Engine = tuple[int, str]  # worker, role


class ExchangeLine(TypedDict):
    """One line of the manifest's clock.exchanges: stamps in ns, t0 and t3 the harness's, t1 and t2 the engine's."""

    moment: Moment
    unit: str
    rounds: int
    t0: int
    t1: int
    t2: int
    t3: int


class ClockExchanges:
    """Asks, waits for answers, and keeps the best. What is not answered is left out: the result says how many came."""

    def __init__(self, tell: Callable[[int, Message], None]) -> None:
        """`tell(worker, message)` sends a line to a worker, or does nothing where it is gone."""
        self._tell = tell
        self._waiting: dict[int, asyncio.Future[Exchange]] = {}
        self._asked: dict[int, int] = {}
        self._next = 0
        self.kept: list[ExchangeLine] = []

    async def exchange(self, moment: Moment, engines: Iterable[Engine]) -> None:
        """Do `ROUNDS` with each engine that has a clock that counts, and add the best of each to `kept`."""
        asked = sorted(engine for engine in engines if engine[1] in ROLES)
        found: dict[Engine, list[Exchange]] = {}
        for _ in range(ROUNDS):
            answers = await asyncio.gather(*(self._once(engine) for engine in asked))
            answered = {engine: answer for engine, answer in zip(asked, answers, strict=True) if answer is not None}
            for engine, answer in answered.items():
                found.setdefault(engine, []).append(answer)
            asked = sorted(answered)  # who is silent once is not waited for again
        for (worker, role), exchanges in found.items():
            unit = unit_of({"worker": worker, "role": role})
            stamps = best(exchanges)._asdict()
            self.kept.append({"moment": moment, "unit": unit, "rounds": len(exchanges), **stamps})  # type: ignore[typeddict-item]

    def answered(self, message: Message, t3_ns: int) -> None:
        """An engine's answer, which came at `t3_ns`."""
        number = int(message["id"])
        future, t0_ns = self._waiting.get(number), self._asked.get(number)
        if future is not None and t0_ns is not None and not future.done():
            future.set_result(Exchange(t0_ns, int(message["t1"]), int(message["t2"]), t3_ns))

    async def _once(self, engine: Engine) -> Exchange | None:
        worker, role = engine
        self._next += 1
        number = self._next
        future: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        self._waiting[number], self._asked[number] = future, now_ns()
        try:
            self._tell(worker, {"op": "clock", "role": role, "id": number})
            async with asyncio.timeout(ANSWER_S):
                return await future
        except TimeoutError:
            return None
        finally:
            del self._waiting[number], self._asked[number]
