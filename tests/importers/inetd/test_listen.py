"""Where a line of inetd.conf listens."""

import pytest

from netd.importers.inetd import entries, lines
from netd.importers.inetd.dialects import DIALECTS
from netd.importers.inetd.entries import UnusableLineError
from netd.importers.inetd.listen import urls
from tests.importers.lines import source
from tests.importers.made_up_host import MadeUpHost


def listen(text: str, dialect: str = "debian") -> list[str]:
    found = next(lines.read(source(f"{text} nowait root /bin/cat cat"), DIALECTS[dialect]))
    return urls(entries.read(found, DIALECTS[dialect]), DIALECTS[dialect], MadeUpHost())


@pytest.mark.parametrize(
    ("dialect", "line", "expected"),
    [
        ("debian", "telnet stream tcp", ["tcp://*:23"]),
        ("openbsd", "telnet stream tcp", ["tcp://0.0.0.0:23"]),
        ("debian", "telnet stream tcp6", ["tcp://[::]:23"]),
        ("debian", "2323 dgram udp4", ["udp://0.0.0.0:2323"]),
        ("debian", "[::1]:23 stream tcp", ["tcp://[::1]:23"]),
        ("debian", "lab:23 stream tcp,sndbuf=8k", ["tcp://lab:23?sndbuf=8KiB"]),
        ("debian", "192.0.2.1,192.0.2.1:23 stream tcp", ["tcp://192.0.2.1:23"]),
        ("busybox", ":::23 stream tcp6", ["tcp://[::]:23"]),
        ("debian", "/run/a dgram unix", ["unixgram:///run/a"]),
    ],
)
def test_a_line_listens_on_its_addresses(dialect: str, line: str, expected: list[str]) -> None:
    assert listen(line, dialect) == expected


@pytest.mark.parametrize("line", ["nosuch stream tcp", "70000 stream tcp", "0 stream tcp", "192.0.2.1:23 stream tcp6"])
def test_a_line_on_which_inetd_does_not_listen_is_refused(line: str) -> None:
    with pytest.raises(UnusableLineError):
        listen(line)
