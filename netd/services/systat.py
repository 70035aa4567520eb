"""systat (RFC 866)."""

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from netd.contract import Conversation
from netd.peer import Peer

_USER_PROCESS = 7
_LINE, _USER = slice(8, 40), slice(44, 76)
# Octets of a record (utmp(5)): where the C library never had a time of 32 bits, its fields are longer.
_RECORD = 400 if platform.machine() in ("aarch64", "riscv64", "loongarch64") else 384
_MOST = 1024  # records that are read
_LONGEST = 512  # octets of a datagram


class Systat:
    """Sends the users that are logged in, each on a line with the terminal, and closes.

    They come from /run/utmp (utmp(5)); without that file there are none. The names of users help to guess passwords, so
    no config of netd has this service switched on.
    """

    rfc = 866
    discards_input = True
    _file = Path("/run/utmp")

    def _lines(self) -> bytes:
        try:
            with self._file.open("rb") as file:
                data = file.read(_MOST * _RECORD)
        except OSError:
            return b""
        return b"".join(_lines_of(data))

    def stream(self, peer: Peer) -> Conversation:
        if lines := self._lines():
            yield lines

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        lines = self._lines()
        return lines and self.truncate(lines, _LONGEST)

    def truncate(self, answer: bytes, most: int) -> bytes | None:
        """As many whole lines as fit (RFC 866: none is split)."""
        return answer[: answer.rfind(b"\n", 0, most) + 1] or None


def _lines_of(data: bytes) -> Iterator[bytes]:
    """The lines for the records of the file, in its order. RFC 866 recommends printable ASCII."""
    for start in range(0, len(data) - _RECORD + 1, _RECORD):
        record = data[start : start + _RECORD]
        if int.from_bytes(record[:2], sys.byteorder) == _USER_PROCESS:
            user, line = (record[part].partition(b"\0")[0] for part in (_USER, _LINE))
            yield _shown(user) + b" " + _shown(line) + b"\r\n"


def _shown(name: bytes) -> bytes:
    return bytes(octet if 0x20 < octet < 0x7F else ord("?") for octet in name)
