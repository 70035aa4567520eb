"""Balance: in which order the targets are tried for a connection. Pure."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

Balance = Literal["round_robin", "least", "source", "first"]


def ordered(
    balance: Balance, usable: Sequence[int], turn: int, active: Sequence[int], ranks: Sequence[int]
) -> list[int]:
    """The numbers of the usable targets in the order in which they are tried.

    ``turn`` grows by one with each connection, ``active`` has the connections of each target, and ``ranks`` what
    `ranks_for` says of the source.
    """
    if balance == "first":
        return list(usable)
    if balance == "source":
        return sorted(usable, key=lambda number: ranks[number])
    start = turn % len(usable) if usable else 0
    turned = [*usable[start:], *usable[:start]]
    return sorted(turned, key=lambda number: active[number]) if balance == "least" else turned


def ranks_for(source: str, targets: Sequence[str]) -> list[int]:
    """A rank for each target, which depends on it and the source alone (rendezvous hashing).

    So a target that is added, removed or left out changes the target of its own sources alone.
    """
    key = source.encode(errors="surrogateescape")[:64]
    return [int.from_bytes(blake2b(target.encode(), key=key, digest_size=8).digest()) for target in targets]
