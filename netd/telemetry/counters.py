"""The numbers kept for each service."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """What one service has done since it started. Written by its loop thread alone, read by anybody."""

    accepted: int = 0
    """Connections taken."""
    closed: Counter[str] = field(default_factory=Counter)
    """Connections ended, by outcome (`netd.telemetry.events.Outcome`)."""
    refused: Counter[str] = field(default_factory=Counter)
    """Connections closed before a word, by reason."""
    failed: int = 0
    """Conversations and datagrams lost to a bug in the service."""
    bytes_in: int = 0
    bytes_out: int = 0
    """Octets received and sent, of ended connections and of datagrams."""
    datagrams_in: int = 0
    datagrams_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Datagrams not taken, or answers not sent, by reason."""

    @property
    def active(self) -> int:
        """Connections open now."""
        return self.accepted - self.closed.total()

    def summary(self) -> dict[str, object]:
        """What is not zero, for a log line."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items() if value}
