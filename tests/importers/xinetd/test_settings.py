"""Attributes in force: defaults, operators, and what xinetd ignores."""

from pathlib import Path

import pytest

from netd.errors import ConfigError
from tests.importers.xinetd.reading import imported, of_text

CAT = ("user = nobody", "server = /bin/cat")


def test_an_attribute_with_a_comment_behind_its_value_is_ignored(tmp_path: Path) -> None:
    result = imported(tmp_path, *CAT, "per_source = 10 # note", "disable = yes # off")
    assert "limits" not in result.services["x"]
    assert "enabled" not in result.services["x"]
    for subject in ("per_source = 10 # note", "disable = yes # off"):
        [line] = result.about(subject)
        assert line.startswith("note: had no effect: it takes 1 value and has 3, since xinetd knows no comments")


def test_the_first_of_two_values_stays(tmp_path: Path) -> None:
    result = imported(tmp_path, *CAT, "disable = no", "disable = yes")
    assert "enabled" not in result.services["x"]
    assert result.about("disable = yes") == ["note: had no effect: the first one stays, in line 9"]


def test_operators_are_for_lists_only(tmp_path: Path) -> None:
    result = imported(tmp_path, *CAT, "flags += KEEPALIVE", "server_args += x", "enabled = x", "only_form = 10.0.0.1")
    assert result.services["x"]["options"]["command"] == ["/bin/cat"]
    told = [line.partition(": ")[2] for line in result.lines if "had no effect" in line]
    assert told == [
        "note: flags += KEEPALIVE: had no effect: += is for lists only",
        "note: server_args += x: had no effect: += is for lists only",
        "note: enabled = x: had no effect: it is for defaults only",
        "note: only_form = 10.0.0.1: had no effect: xinetd does not know it",
    ]


def test_lists_are_replaced_extended_and_shortened(tmp_path: Path) -> None:
    defaults = "defaults\n{\nonly_from = 10.0.0.1\nonly_from = 10.0.0.2\n}\n"
    for lines, expected in (
        ((), ["10.0.0.1", "10.0.0.2"]),
        (("only_from = 10.0.0.3",), ["10.0.0.3"]),
        (("only_from += 10.0.0.3",), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        (("only_from -= 10.0.0.1",), ["10.0.0.2"]),
    ):
        result = imported(tmp_path, *CAT, *lines, before=defaults)
        assert result.services["x"]["access"] == {"allow": expected}


def test_a_service_gets_lists_only_from_defaults_before_it_and_numbers_from_all(tmp_path: Path) -> None:
    body = "type = UNLISTED\nwait = no\nsocket_type = stream\nuser = root\nserver = /bin/cat\n"
    entry = f"service {{}}\n{{{{\nport = {{}}\n{body}}}}}\n"
    defaults = "defaults\n{\nonly_from = 10.0.0.1\ninstances = 5\numask = 077\n}\n"
    result = of_text(tmp_path, entry.format("a", 1025) + defaults + entry.format("b", 1026))
    assert [result.services[name]["limits"] for name in "ab"] == [{"connections": 5}] * 2
    assert [result.services[name]["options"]["umask"] for name in "ab"] == ["077"] * 2
    assert [result.services[name].get("access") for name in "ab"] == [None, {"allow": ["10.0.0.1"]}]


def test_defaults_take_few_attributes(tmp_path: Path) -> None:
    result = imported(tmp_path, *CAT, before="defaults\n{\ndisable = yes\nenv = A=1\nfoo = 1\n}\n")
    assert "enabled" not in result.services["x"]
    assert result.about("disable = yes") == ["note: had no effect: it is not for defaults"]
    assert result.about("foo = 1") == ["note: had no effect: xinetd does not know it"]


def test_two_kinds_of_log_in_defaults_end_xinetd(tmp_path: Path) -> None:
    text = "defaults\n{\nlog_type = SYSLOG daemon\nlog_type = FILE /x\n}\n"
    with pytest.raises(ConfigError, match=r"xinetd.conf:4: log_type stands twice"):
        of_text(tmp_path, text)
