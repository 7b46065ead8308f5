"""Ten messages 10 ms apart: the history that tests of the account are told on, and what the account says of it."""

from fanlab.ledger.result import Account
from support.histories import History

ALL = range(1, 11)


def steady(clients: int = 2, **more) -> History:
    """Ten messages 10 ms apart, each received by each client 1 ms after its intended time; client c on node c."""
    history = History(clients=clients, **more)
    for client in range(clients):
        history.subscribe(client, node=client)
    for seq in ALL:
        history.publish(seq, seq * 10)
    for seq in ALL:
        for client in range(clients):
            history.deliver(client, seq, seq * 10 + 1, node=client)
    return history


def without(history: History, client: int, *seqs: int) -> History:
    """The history, less a client's deliveries of some messages."""
    history.deliveries = [one for one in history.deliveries if (one[3], one[2]) not in {(client, seq) for seq in seqs}]
    return history


def terms(found: Account) -> tuple[int, int, int, int]:
    tally = found.measure
    assert tally.balanced
    return tally.owed, tally.delivered, tally.lost, tally.indeterminate


def lost(found: Account) -> list[tuple[int, int]]:
    return sorted((int(row["client"]), int(row["seq"])) for row in found.losses)
