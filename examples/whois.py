"""A whois server (RFC 3912) as a handler of `socketserver`: answers with the record of a name, a text file.

    netd run --service examples/whois.py:Whois tcp://localhost:7043

Then `echo example.org | nc -N localhost 7043`, or `whois -h localhost -p 7043 example.org`.
"""

import re
import socketserver
from pathlib import Path

RECORDS = Path("/srv/whois")
"""The directory with the records, such as /srv/whois/example.org. `netd reload` takes another one."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._:-]{0,252}")
_LONGEST_QUERY = 512  # octets
_LONGEST_RECORD = 2**20


class Whois(socketserver.StreamRequestHandler):
    """Answers with the record of a name, and closes."""

    timeout = 10  # seconds for the query, which is one line

    def handle(self) -> None:
        query = self.rfile.readline(_LONGEST_QUERY).decode(errors="replace").strip().lower()
        # A name of the pattern is no path: it has no slash, and does not begin with a full stop.
        record = self.record(query) if _NAME.fullmatch(query) else None
        text = record if record is not None else f"% no record of {query[:80]!r}\n"
        self.wfile.write("".join(f"{line}\r\n" for line in text.splitlines()).encode())

    @staticmethod
    def record(name: str) -> str | None:
        """The record of a name; None if there is none."""
        try:
            with (RECORDS / name).open(encoding="utf-8", errors="replace") as file:
                return file.read(_LONGEST_RECORD)
        except OSError:
            return None
