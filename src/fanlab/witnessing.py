"""The witness's life in a run: started, waited for, minded, and ended when the last message has come."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from typing import Final, Self

from fanlab.clock import NS_PER_S, now_ns
from fanlab.errors import EnvironmentFailure
from fanlab.ledger.witness import read_witness
from fanlab.load.witness import URL_VARIABLE
from fanlab.rundir import RunDir
from fanlab.topology.backend import Backend, UnitState
from fanlab.topology.wardenclient import describe_status

WITNESS: Final = "witness"  # its unit
SUBSCRIBED_WITHIN_S: Final = 20.0
ENDED_WITHIN_S: Final = 5.0
POLL_S: Final = 0.02
_HINT: Final = "or do without it: --set evidence.witness=false makes attributions coarser, and loses nothing else"


class Witnessing:
    """Starts the witness on entry and ends it in order on exit; a block that fails leaves that to the backend."""

    def __init__(
        self,
        backend: Backend,
        rundir: RunDir,
        *,
        redis_url: str,
        channels: Sequence[str],
        run_tag: int,
        streams: int,
        warn: Callable[[str], None],
    ) -> None:
        """`warn` is told when the witness dies before its time: the run goes on, with less evidence."""
        self._backend = backend
        self._rundir = rundir
        self._log = rundir.logs / f"{WITNESS}.log"
        self._redis_url = redis_url
        numbers = ["--run-tag", str(run_tag), "--streams", str(streams)]
        out = ["--out", str(rundir.witness.absolute())]
        self._argv = [backend.python, "-m", "fanlab.load.witness", *out, *numbers, "--", *channels]
        self._warn = warn
        self._minding: asyncio.Task[None] | None = None
        self._ending = False

    async def __aenter__(self) -> Self:
        env = {URL_VARIABLE: self._redis_url}
        await self._backend.start_helper(WITNESS, self._argv, env, self._log)
        return self

    async def subscribed(self) -> None:
        """Wait until it has every channel. Raises EnvironmentFailure, with its last words, if it does not."""
        deadline_ns = now_ns() + round(SUBSCRIBED_WITHIN_S * NS_PER_S)
        while not self._is_up():
            gone = self._backend.state(WITNESS) is UnitState.GONE
            if gone or now_ns() > deadline_ns:
                what = "has ended" if gone else f"is not subscribed to Redis after {SUBSCRIBED_WITHIN_S:g} s"
                said = "".join(f": {line}" for line in self._backend.log_tail(WITNESS, 1))
                raise EnvironmentFailure(f"the witness {what}{said}", hint=f"see {self._log}, {_HINT}")
            await asyncio.sleep(POLL_S)
        self._minding = asyncio.create_task(self._mind(), name="minding the witness")

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ending = True
        try:
            if kind is None and self._backend.state(WITNESS) is not UnitState.GONE:
                await self._end()
        finally:
            if self._minding is not None:
                self._minding.cancel()
                await asyncio.gather(self._minding, return_exceptions=True)

    def _is_up(self) -> bool:
        witness = read_witness(self._rundir.witness)
        return witness is not None and len(witness.up) > 0

    async def _end(self) -> None:
        try:
            await self._backend.signal(WITNESS, signal.SIGTERM)
            async with asyncio.timeout(ENDED_WITHIN_S):
                await self._backend.exited(WITNESS)
        except TimeoutError:
            self._warn(f"the witness did not end within {ENDED_WITHIN_S:g} s; see {self._log}")
        except EnvironmentFailure:
            return  # it was quicker, and `_mind` has told so

    async def _mind(self) -> None:
        try:
            status = await self._backend.exited(WITNESS)
        except EnvironmentFailure:
            return  # the warden is lost and everything with it, which others tell
        if not self._ending:
            self._warn(
                f"the witness has ended by itself ({describe_status(status)}): what comes from here on is attributed "
                f"more coarsely; see {self._log}"
            )
