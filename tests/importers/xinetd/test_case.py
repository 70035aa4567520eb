"""Reasons why a service is off, in the account and above the key."""

from pathlib import Path

from tests.importers.xinetd.reading import imported


def test_reasons_stand_above_the_switch(tmp_path: Path) -> None:
    result = imported(tmp_path, "user = no-such", "server = /bin/cat", "umask = 9")
    assert "    # user: there is no user no-such\n    # umask: 9 is no mask" in result.text
    assert result.services["x"]["enabled"] is False
    assert result.about("user = no-such") == ["note: there is no user no-such: xinetd had the service off"]


def test_an_attribute_that_is_missing_is_told_at_the_service(tmp_path: Path) -> None:
    result = imported(tmp_path, "server = /bin/cat")
    assert "note: user is missing: xinetd had the service off" in " ".join(result.about("service x"))


def test_flags_are_compared_without_their_case(tmp_path: Path) -> None:
    result = imported(tmp_path, "user = root", "server = /bin/cat", "FLAGS = keepalive ReUse ipv4")
    assert result.services["x"]["listen"] == ["tcp://0.0.0.0:1025?keepalive=on"]
