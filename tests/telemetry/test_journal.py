"""Entries for systemd's journal."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.telemetry import journal
from tests.telemetry.journald import fields


@given(st.dictionaries(st.sampled_from(["error", "peer", "name"]), st.one_of(st.text(), st.integers(), st.none())))
def test_value_cannot_forge_a_field_of_the_journal(values: dict[str, Any]) -> None:
    event = {"event": "x_happened", "level": "warning", **values}
    found = fields(journal.render(None, "warning", dict(event)))
    assert found.keys() == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "NETD_EVENT"} | {
        f"NETD_{key.upper()}" for key in values
    }
    assert (found["PRIORITY"], found["NETD_EVENT"]) == ("4", "x_happened")
    assert found["MESSAGE"].isprintable()
    for key, value in values.items():
        if isinstance(value, str):
            assert found[f"NETD_{key.upper()}"] == value.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2"), ("other", "6")],
)
def test_level_is_a_priority_of_syslog(level: str, priority: str) -> None:
    assert fields(journal.render(None, level, {"event": "x"}))["PRIORITY"] == priority


def test_message_is_the_event_with_its_keys_and_then_the_traceback() -> None:
    event = {"event": "x_failed", "level": "error", "peer": "192.0.2.7:5", "error": "a b", "exception": "one\ntwo"}
    found = fields(journal.render(None, "error", dict(event)))
    assert found["MESSAGE"] == 'x_failed peer=192.0.2.7:5 error="a b"\none\ntwo'
    assert (found["NETD_PEER"], found["NETD_ERROR"], found["NETD_EXCEPTION"]) == ("192.0.2.7:5", "a b", "one\ntwo")
    assert (found["SYSLOG_IDENTIFIER"], found["NETD_EVENT"]) == ("netd", "x_failed")


def test_value_with_several_lines_is_preceded_by_its_length() -> None:
    assert journal.entry({"A": "x", "B": "y\nz"}) == b"A=x\nB\n" + (3).to_bytes(8, "little") + b"y\nz\n"


def test_value_is_cut_to_what_fits_into_a_datagram() -> None:
    entry = journal.render(None, "error", {"event": "x_failed", "exception": "y" * 10**6})
    assert len(entry) < 40_000
    assert len(fields(entry)["NETD_EXCEPTION"]) == 16_384


def test_entries_are_sent_to_the_socket_of_the_journal(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        journal.connect(str(tmp_path / "socket"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(tmp_path / "socket"))
        journald.settimeout(20)
        descriptor = journal.connect(str(tmp_path / "socket"))
        os.write(descriptor, journal.render(None, "warning", {"event": "x_happened", "number": 1}))
        os.close(descriptor)
        assert fields(journald.recv(65536))["NETD_NUMBER"] == "1"


def test_journal_is_recognized_by_its_device_and_inode(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    status = os.fstat(writer)
    for value, expected in (
        (f"{status.st_dev}:{status.st_ino}", True),
        (f"{status.st_dev}:{status.st_ino + 1}", False),
        ("", False),
    ):
        monkeypatch.setenv("JOURNAL_STREAM", value)
        assert journal.is_journal(writer) is expected
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    os.close(writer)
    assert not journal.is_journal(writer)
    os.close(reader)
