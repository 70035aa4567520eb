"""The receiver of syslog messages in examples/."""

import json
import socket
import subprocess
from typing import Any

import pytest

from netd.testing import PEER, datagram
from tests.source_tree import ROOT
from tests.support.code import load
from tests.support.daemon import Daemon
from tests.support.programs import need

FILE = ROOT / "examples" / "syslogd.py"
_, SYSLOG = load(str(FILE), "Syslog", FILE.read_text())

# The first examples are those of the RFCs: RFC 5424, section 6.5, and RFC 3164, section 5.4.
MESSAGES = [
    (
        "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed for lonvick",
        {
            "facility": "auth",
            "severity": "crit",
            "time": "2003-10-11T22:14:15.003Z",
            "host": "mymachine.example.com",
            "program": "su",
            "id": "ID47",
            "text": "'su root' failed for lonvick",
        },
    ),
    (
        '<165>1 2003-10-11T22:14:15.003Z host evntslog 17 ID47 [a@32473 iut="3" x="a \\"]\\" b"][b@32473 class="high"]',
        {
            "facility": "local4",
            "severity": "notice",
            "time": "2003-10-11T22:14:15.003Z",
            "host": "host",
            "program": "evntslog",
            "pid": "17",
            "id": "ID47",
            "data": '[a@32473 iut="3" x="a \\"]\\" b"][b@32473 class="high"]',
            "text": "",
        },
    ),
    (
        "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick\n",
        {
            "facility": "auth",
            "severity": "crit",
            "time": "Oct 11 22:14:15",
            "host": "mymachine",
            "program": "su",
            "text": "'su root' failed for lonvick",
        },
    ),
    (
        "<86>Dec  1 01:00:00 a sshd[1234]: two\nlines",
        {
            "facility": "authpriv",
            "severity": "info",
            "time": "Dec  1 01:00:00",
            "host": "a",
            "program": "sshd",
            "pid": "1234",
            "text": "two\nlines",
        },
    ),
    ("<0>without a header", {"facility": "kern", "severity": "emerg", "text": "without a header"}),
    ("<13>", {"facility": "user", "severity": "notice", "text": ""}),
    ("no priority \x1b[2J", {"facility": "user", "severity": "notice", "text": "no priority \x1b[2J"}),
    ("<192>too high", {"facility": "user", "severity": "notice", "text": "<192>too high"}),
    ("", {"facility": "user", "severity": "notice", "text": ""}),
]


@pytest.mark.parametrize(("message", "parts"), MESSAGES, ids=[str(number) for number in range(len(MESSAGES))])
def test_message_is_printed_in_its_parts(
    message: str, parts: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert datagram(SYSLOG, message.encode()) is None
    line = capsys.readouterr().out
    assert line.isascii()
    assert line.endswith("}\n")
    assert json.loads(line) == {"from": PEER.host, **parts}


def test_octets_that_are_no_text_are_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    assert datagram(SYSLOG, b"<13>\xff") is None
    assert json.loads(capsys.readouterr().out)["text"] == "\ufffd"


@pytest.mark.slow  # a daemon
@pytest.mark.parametrize("form", ["--rfc3164", "--rfc5424"])
def test_logger_is_understood(form: str) -> None:
    logger = need("logger")
    with Daemon("--service", f"{FILE}:Syslog", "udp://127.0.0.1:0") as netd:
        netd.event("netd_started")
        words = [
            "--server",
            "127.0.0.1",
            "--port",
            str(netd.port("syslog", "udp")),
            "--udp",
            form,
            "--tag",
            "t",
            "hello",
        ]
        subprocess.run([logger, *words], check=True)
        shown: dict[str, Any] = json.loads(netd.event("line_printed")["line"])
        assert netd.stop() == 0
    wanted = {"from": "127.0.0.1", "facility": "user", "severity": "notice", "program": "t", "text": "hello"}
    assert {name: shown[name] for name in wanted} == wanted
    assert shown["host"] == socket.gethostname().partition(".")[0] or shown["host"] == socket.gethostname()
