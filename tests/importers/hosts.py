"""A host with known facts, for imports that do not depend on the host of the tests."""

from netd.importers.host import Host


class KnownHost(Host):
    """A host on which these ports, accounts, programs, networks and names are, and no others."""

    ports: dict[tuple[str, str], int] = {  # noqa: RUF012
        ("echo", "tcp"): 7,
        ("echo", "udp"): 7,
        ("discard", "tcp"): 9,
        ("daytime", "tcp"): 13,
        ("daytime", "udp"): 13,
        ("chargen", "tcp"): 19,
        ("telnet", "tcp"): 23,
        ("tcpmux", "tcp"): 1,
        ("time", "tcp"): 37,
        ("time", "udp"): 37,
        ("tftp", "udp"): 69,
        ("https", "tcp"): 443,
        ("printer", "tcp"): 515,
        ("ircd", "tcp"): 6667,
        ("vault", "tcp"): 10080,
        ("mirror", "tcp"): 8730,
        ("perfd", "tcp"): 9901,
        ("printq", "tcp"): 9515,
    }
    accounts = frozenset({"root", "nobody", "daemon", "sound", "spool", "relay", "vaultrunner"})
    group_names = frozenset({"root", "tty", "tape", "nogroup"})

    def __init__(
        self, *missing: str, denied: frozenset[str] = frozenset(), words: frozenset[str] = frozenset()
    ) -> None:
        super().__init__()
        self._missing = missing
        self._denied = denied
        self._words = words

    def port(self, name: str, protocol: str) -> int | None:
        return self.ports.get((name, protocol))

    def network(self, name: str) -> str | None:
        return {"lab-net": "192.0.2.0"}.get(name)

    def has_user(self, name: str) -> bool:
        return name in self.accounts

    def has_group(self, name: str) -> bool:
        return name in self.group_names

    def is_program(self, path: str) -> bool:
        return path not in self._missing

    def addresses(self, name: str) -> list[str]:
        return ["192.0.2.80", "2001:db8::80"] if name == "known.example" else []

    def is_wrapped(self, names: set[str]) -> bool:
        return bool(names & self._denied)

    def distribution(self) -> set[str]:
        return set(self._words)

    def zone(self) -> str:
        return "Europe/Berlin"
