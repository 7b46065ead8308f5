"""Events that journals hold as JSON lines: what happened to a client, a node, a generator. Each has `t` (ns) and `ev`.

Client events, in the stripes of load engines:

| ev           | fields                          | meaning |
| ---          | ---                             | --- |
| connecting   | client, node, attempt           | a connection attempt begins |
| failed       | client, node, error             | it came to nothing |
| open         | client, node                    | the WebSocket is open |
| subscribing  | client, node, channel           | the subscribe frame is about to be sent |
| subscribed   | client, node, channel           | the node confirmed it |
| closed       | client, node, code, reason, own | the connection ended; `own` if the client meant it |
| left         | client                          | the client leaves of its own will: owed nothing from here on |
| health       | cpu_s, lags_ms, missed, …       | the engine's own, every second: see load.health |
| damaged      | client, node, bytes             | its token does not check: up to 64 bytes from there, in hex |
| damaged      | client, node, stream, seq       | its token is good, and the rest is not what was published |
| probe        | delays_us, late_us, inferred    | of its probes, every second: how much later than the kernel |

Node events, in `journal/<node id>.jsonl` (see nodes/PROTOCOL.md, the contract):

| ev           | fields                          | meaning |
| ---          | ---                             | --- |
| start        | node, pid                       | a process of this node begins |
| redis        | state (up/down), error?, why?   | its connection to Redis |
| subscribed   | ch                              | Redis confirmed a channel |
| unsubscribed | ch                              | the last client of a channel left |
| gap          | ch, from, to                    | resubscribed: what was published between was lost |
| msg          | ch, mark?, n, done              | received at `t`, handed to n clients, done at `done` |
| drop         | ch, mark?, n, why, who?         | not handed to n clients |
| cache        | ch, key, mark?                  | the cache took it, as its entry `key` |
| stop         |                                 | an orderly end |
"""

from typing import Final, Literal, NotRequired, TypedDict

NO_ANSWER: Final = "no answer to a ping"  # begins the reason of a `closed` that the engine itself brought about

ClientEventName = Literal[
    "connecting", "failed", "open", "subscribing", "subscribed", "closed", "left", "health", "probe", "damaged"
]


class ClientEvent(TypedDict):
    """One line of a client's history."""

    t: int
    ev: ClientEventName
    client: NotRequired[int]
    node: NotRequired[int]
    channel: NotRequired[str]
    attempt: NotRequired[int]
    code: NotRequired[int]
    reason: NotRequired[str]
    own: NotRequired[bool]
    error: NotRequired[str]
    cpu_s: NotRequired[float]
    lags_ms: NotRequired[list[float]]
    missed: NotRequired[int]
    cpu_wait_s: NotRequired[float]
    gc_ms: NotRequired[float]
    gc_max_ms: NotRequired[float]
    stolen_s: NotRequired[float]
    cpus: NotRequired[int]
    delays_us: NotRequired[list[int]]
    late_us: NotRequired[list[int]]
    inferred: NotRequired[int]
    bytes: NotRequired[str]
    stream: NotRequired[int]
    seq: NotRequired[int]


StampName = Literal["requested", "confirmed", "heal_requested", "heal_confirmed"]


class FaultStamp(TypedDict):
    """One line of faults.jsonl. `id` is the fault's index in the timeline; one fault on three nodes has three ids."""

    id: int
    kind: str
    target: str
    stamp: StampName
    t: int
    detail: NotRequired[str]
