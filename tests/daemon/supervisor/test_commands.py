"""What several workers list of their connections, put together."""

from netd.daemon.messages.from_worker import MOST_PEERS, PeerList, PeerRow
from netd.daemon.supervisor.commands import merged_peers


def row(peer: str, connections: int, bytes_in: int = 0, bytes_out: int = 0) -> PeerRow:
    return PeerRow(peer, connections, bytes_in, bytes_out)


def test_the_peers_of_all_workers_are_summed_and_bounded() -> None:
    many = [row(f"192.0.2.{number}", 2) for number in range(MOST_PEERS)]
    first = PeerList(1000, [row("::1", 3, 10, 1), *many])
    second = PeerList(20, [row("::2", 7, 5, 5), row("::1", 5, 20, 2), row("::3", 1)])
    merged = merged_peers([first, second])
    assert merged["total"] == 1020
    assert merged["peers"][:2] == [vars(row("::1", 8, 30, 3)), vars(row("::2", 7, 5, 5))]
    assert len(merged["peers"]) == MOST_PEERS
    assert merged_peers([]) == {"total": 0, "peers": []}
