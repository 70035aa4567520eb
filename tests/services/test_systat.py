"""systat: the users in a file of utmp(5)."""

import struct
from pathlib import Path

import pytest

from netd.services import systat
from netd.services.systat import Systat
from netd.services.table import find
from netd.testing import datagram, script

USERS = [("ada", "tty1"), ("bob", "pts/0")]


def record(user: str | bytes, line: str, kind: int = 7) -> bytes:
    name = user if isinstance(user, bytes) else user.encode()
    return struct.pack("=hxxi32s4s32s", kind, 4711, line.encode(), b"id", name).ljust(systat._RECORD, b"\xff")


def listing(directory: Path, content: bytes | None) -> Systat:
    class Other(Systat):
        _file = directory / "utmp"

    if content is not None:
        Other._file.write_bytes(content)
    return Other()


def test_each_user_is_sent_on_a_line_with_the_terminal(tmp_path: Path) -> None:
    others = record("reboot", "~", kind=2) + record("LOGIN", "tty2", kind=6) + record("ada", "tty1", kind=8)
    service = listing(tmp_path, others + b"".join(record(*one) for one in USERS) + b"\7\0half a record")
    script(service).sends(b"ada tty1\r\nbob pts/0\r\n").ends()
    assert datagram(service, b"") == b"ada tty1\r\nbob pts/0\r\n"


@pytest.mark.parametrize("content", [None, b"", b"\7", record("LOGIN", "tty2", kind=6)])
def test_without_users_nothing_is_sent(tmp_path: Path, content: bytes | None) -> None:
    service = listing(tmp_path, content)
    script(service).ends()
    assert datagram(service, b"") == b""


def test_names_are_sent_in_printable_ascii_without_spaces(tmp_path: Path) -> None:
    service = listing(tmp_path, record(b"a b\x1b[31m\r\n\xe9", "x\ny") + record(b"u" * 32, "p" * 32))
    script(service).sends(b"a?b?[31m??? x?y\r\n" + b"u" * 32 + b" " + b"p" * 32 + b"\r\n").ends()


def test_datagram_has_whole_lines_only_as_many_as_fit(tmp_path: Path) -> None:
    service = listing(tmp_path, record("ada", "pts/1") * 2000)
    line = b"ada pts/1\r\n"
    assert datagram(service, b"") == line * (512 // len(line))
    assert service.truncate(line * 9, 64) == line * 5
    assert service.truncate(b"x" * 70 + b"\r\n", 64) is None
    assert script(service).output() == line * 1024, "not all of an endless file"


def test_type_is_found_with_its_rfc() -> None:
    kind = find("systat")
    assert kind
    assert (kind.rfc, kind.streams, kind.serving) == (866, True, "send_only")
