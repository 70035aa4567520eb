"""`netd trace`: messages of netd in, lines out."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from netd.cli.main import netd
from netd.cli.trace import _lines
from netd.client.control import Answer
from netd.errors import NotRunningError
from tests.client.fake_netd import FakeNetd

NOON = time.mktime((2023, 11, 14, 12, 0, 0, 0, 0, -1))


def message(what: str, data: bytes = b"", size: int | None = None) -> dict[str, object]:
    number = len(data) if size is None else size
    return {"time": NOON + 0.25, "what": what, "peer": "192.0.2.7:5\x1b", "size": number, "data": data.hex()}


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (message("opened"), ["+ 192.0.2.7:5\\x1b"]),
        (message("end"), ["| 192.0.2.7:5\\x1b"]),
        (message("closed"), ["- 192.0.2.7:5\\x1b"]),
        (message("in", b'a "b"\r\n\xff'), ['< 192.0.2.7:5\\x1b 8 "a \\"b\\"\\r\\n\\xff"']),
        (message("out", b"x" * 70), [f'> 192.0.2.7:5\\x1b 70 "{"x" * 64}" (6 more)']),
        (message("out", b"", 4096), ["> 192.0.2.7:5\\x1b 4096 (not captured)"]),
        (message("opened") | {"via": "10.0.0.1:7\x1b"}, ["+ 192.0.2.7:5\\x1b via 10.0.0.1:7\\x1b"]),
        (message("in", b"x") | {"via": "10.0.0.1:7"}, ['< 192.0.2.7:5\\x1b 1 "x"']),
        (message("in", b""), ['< 192.0.2.7:5\\x1b 0 ""']),
        (
            {"time": NOON + 0.25, "what": "unanswered", "peer": "192.0.2.7:5", "size": 4, "text": "4 octets\x1b"},
            ["? 192.0.2.7:5 4 octets\\x1b"],
        ),
    ],
)
def test_message_is_a_line_with_time_direction_and_escaped_octets(given: dict[str, object], lines: list[str]) -> None:
    assert list(_lines(Answer(given), as_hex=False)) == [f"12:00:00.250000 {line}" for line in lines]


def test_hexadecimal_shows_all_captured_octets() -> None:
    first, row, last, more = _lines(message("in", bytes(range(48, 66)), 20), as_hex=True)
    assert first.endswith(" 20")
    assert row == "    0000  30 31 32 33 34 35 36 37 38 39 3a 3b 3c 3d 3e 3f  0123456789:;<=>?"
    assert last.split() == ["0010", "40", "41", "@A"]
    assert more == "    (2 more)"


def test_skipped_messages_are_counted() -> None:
    assert list(_lines({"skipped": 7}, as_hex=True)) == ["(7 skipped)"]


@pytest.mark.parametrize(("as_json", "enabled"), [(True, True), (False, False)])
def test_trace_prints_messages_until_netd_closes(place: Path, *, as_json: bool, enabled: bool) -> None:
    messages = [message("opened"), message("in", b"hello")]
    answer = b'{"ok": true}\n\n' + b"".join(json.dumps(one).encode() + b"\n\n" for one in messages)
    status = {"ok": True, "services": [{"service": "echo", "enabled": enabled}]}
    with FakeNetd(place / "control.sock", status, answer) as fake:
        options = ["trace", "echo", "--peer", "192.0.2.7", *(["--json"] if as_json else [])]
        done = CliRunner().invoke(netd, options, standalone_mode=False)
    assert fake.requests == ["status service=echo", "trace service=echo peer=192.0.2.7"]
    assert isinstance(done.exception, NotRunningError)
    assert done.stderr.splitlines() == [
        "tracing echo; press Ctrl-C to stop",
        "refused connections are not shown; netd explain says what decides about a peer",
        *([] if enabled else ["echo is off; its connections are shown once it is on"]),
    ]
    lines = done.stdout.splitlines()
    if as_json:
        assert [json.loads(line) for line in lines] == [{"format_version": 1, **one} for one in messages]
    else:
        assert [line.partition(" ")[2] for line in lines] == [
            "+ 192.0.2.7:5\\x1b",
            '< 192.0.2.7:5\\x1b 5 "hello"',
        ]


def test_help_says_that_each_line_is_an_object() -> None:
    assert "Print each line as a JSON object." in CliRunner().invoke(netd, ["trace", "--help"]).stdout
