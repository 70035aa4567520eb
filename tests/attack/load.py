"""A load of connections and datagrams beside what a test does, and what became of each of them."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.programs import started

SCRIPT = Path(__file__).parent / "load_client.py"
Address = tuple[str, int]


class Outcomes(dict[str, float]):
    """How many connections and datagrams ended how; empty while the load lasts."""

    def number(self, *names: str) -> int:
        return int(sum(self.get(name, 0) for name in names))

    @property
    def lost(self) -> dict[str, float]:
        """All that did not go well."""
        return {name: value for name, value in self.items() if name not in ("tcp_done", "udp_done", "slowest")}

    @property
    def tried(self) -> str:
        parts = [
            f"{sum(int(value) for name, value in self.items() if name.startswith(kind)):,} {noun}"
            for kind, noun in (("tcp_", "connections"), ("udp_", "datagrams"))
        ]
        return ", ".join(parts)

    @property
    def seen(self) -> str:
        lost = ", ".join(f"{int(value)} {name}" for name, value in sorted(self.lost.items()))
        return f"{lost or 'none lost'}; slowest connection {self.get('slowest', 0):.2f} s"


@contextlib.contextmanager
def load(
    tcp: Sequence[Address] = (), udp: Sequence[Address] = (), threads: int = 2, prefix: Sequence[str] = ()
) -> Iterator[Outcomes]:
    """Clients in a process of their own until the context ends; ``prefix`` is a command that runs it elsewhere."""
    outcomes = Outcomes()
    wanted = json.dumps({"tcp": list(tcp), "udp": list(udp), "threads": threads})
    python = "/usr/bin/python3" if prefix else sys.executable
    command = [*prefix, python, "-c", SCRIPT.read_text(), wanted]
    with started(*command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        yield outcomes
        process.stdin.close()
        outcomes.update(json.loads(process.stdout.readline()))
        assert process.wait(60) == 0
