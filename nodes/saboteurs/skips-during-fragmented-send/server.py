"""Skips clients during a fragmented send, as `websockets.broadcast()` does, which tells nobody but its log.

Trigger: messages above FRAGMENT_OVER_BYTES (4096), which go out in four parts over some 60 ms. Others that come
meanwhile are not sent to the clients concerned. The journal counts them as sent, as the caller of broadcast() does.
"""

import asyncio
import os
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "websockets"))
import node
import server
from clients import Fanout, Outcome, text_frame
from websockets.frames import Frame, Opcode

OVER_BYTES = int(os.environ.get("FRAGMENT_OVER_BYTES", "4096"))
PARTS, PAUSE_S = 4, 0.02


class FragmentingFanout(Fanout):
    """Sends what is large in parts."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self._answers = defaultdict(list)  # of the clients in a fragmented send: answers that wait for its end
        self._tasks = set()

    def publish(self, members, payload):
        members = list(members)
        free = [client for client in members if client not in self._answers]
        if len(payload) > OVER_BYTES:
            outcome = Outcome(written=len(free))
            for client in free:
                self._answers[client] = []
                task = asyncio.get_running_loop().create_task(self._send_in_parts(client, payload))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        else:
            outcome = super().publish(free, payload)
        outcome.written += len(members) - len(free)  # the fault: skipped, and taken for sent
        return outcome

    def tell(self, client, data) -> None:
        if client in self._answers:
            self._answers[client].append(data)
        else:
            super().tell(client, data)

    async def _send_in_parts(self, client, payload) -> None:
        size = -(-len(payload) // PARTS)
        for start in range(0, len(payload), size):
            frame = Frame(Opcode.CONT if start else Opcode.TEXT, payload[start : start + size])
            frame.fin = start + size >= len(payload)
            if client.writable:
                client.transport.write(bytes(frame.serialize(mask=False)))
            if not frame.fin:
                await asyncio.sleep(PAUSE_S)
        for data in self._answers.pop(client):
            if client.writable:
                client.transport.write(text_frame(data))


if __name__ == "__main__":
    node.Fanout = FragmentingFanout
    sys.exit(server.main())
