"""All services of a file together."""

import importlib
from pathlib import Path

import pytest

from netd.config.bounds import Bound
from netd.errors import ConfigError
from tests.importers.hosts import KnownHost
from tests.importers.xinetd.reading import imported, of_text

CAT = ("user = nobody", "server = /bin/cat")
ENTRY = """service {}
{{
type = UNLISTED
port = {}
wait = no
socket_type = stream
user = root
server = /bin/cat
{}
}}
"""


@pytest.mark.parametrize(
    ("defaults", "line", "debian", "rhel"),
    [
        ("enabled = x", "", True, True),
        ("enabled = y", "", False, False),
        ("enabled =", "", False, False),
        ("disabled = x", "", False, False),
        ("enabled = x\ndisabled = X", "", False, False),
        ("enabled = x", "disable = yes", False, True),
        ("enabled = x", "per_source = many", True, True),
        ("enabled = x", "disable = yes\nper_source = many", False, True),
        ("instances = 1", "disable = maybe", False, False),
    ],
)
def test_lists_in_defaults_switch_services(
    tmp_path: Path, defaults: str, line: str, *, debian: bool, rhel: bool
) -> None:
    for dialect, expected in (("debian", debian), ("suse", debian), ("rhel", rhel)):
        text = f"defaults\n{{\n{defaults}\n}}\n" + ENTRY.format("x", 1025, line)
        assert of_text(tmp_path, text, dialect=dialect).services["x"].get("enabled", True) is expected


def test_mistakes_in_defaults_refuse_the_import_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        of_text(tmp_path, "defaults\n{\numask = 9\nlog_type = X\nonly_from = 10.0.0.1,10.0.0.2\n}\n")
    assert [problem.partition("xinetd.conf:")[2][:12] for problem in refused.value.problems] == [
        *("5: only_from", "3: umask: 9 ", "4: log_type:")
    ]


def test_values_of_defaults_are_told_without_a_service(tmp_path: Path) -> None:
    result = of_text(tmp_path, "defaults\n{\nmax_load = 2\nv6only = no\ninstances = 3\n}\n")
    assert [line.partition(": ")[2][:20] for line in result.lines] == [
        "imported: defaults",
        "imported: max_load =",
        "note: v6only = no: h",
        "imported: instances ",
    ]


def test_access_rules_are_no_more_than_netd_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("netd.importers.xinetd.convert"), "RULES", Bound(3, "rules"))
    text = "defaults\n{\nonly_from = 10.0.0.1 10.0.0.2\n}\n" + ENTRY.format("a", 1025, "") + ENTRY.format("b", 1026, "")
    with pytest.raises(ConfigError, match="more than 3 access rules"):
        of_text(tmp_path, text)


def test_an_address_has_one_service(tmp_path: Path) -> None:
    result = of_text(
        tmp_path, ENTRY.format("a", 1025, "") + ENTRY.format("a", 1025, "") + ENTRY.format("b", 1025, "disable = yes")
    )
    assert [(name, one.get("enabled", True)) for name, one in result.services.items()] == [
        ("a", True),
        ("a-2", False),
        ("b", False),
    ]
    assert "a has its address already" in result.text


def test_entries_that_xinetd_drops_are_told_with_their_comments(tmp_path: Path) -> None:
    result = of_text(tmp_path, "# web\nservice x\n{\nport=80\n}\n" + ENTRY.format("y", 1025, ""))
    assert list(result.services) == ["y"]
    assert result.lines[1].startswith("xinetd.conf:4: not imported: service x: no attribute, a blank and")
    assert "# web\n# x: not imported" in result.text


def test_the_dialect_is_that_of_the_host(tmp_path: Path) -> None:
    for words, expected in (({"debian"}, "*"), ({"centos", "rhel"}, "0.0.0.0"), ({"opensuse"}, "*"), (set(), "*")):
        result = imported(tmp_path, *CAT, host=KnownHost(words=frozenset(words)))
        assert result.services["x"]["listen"] == [f"tcp://{expected}:1025"]


def test_service_that_the_config_refuses_is_told_and_not_written(tmp_path: Path) -> None:
    found = imported(tmp_path, "user = root", "server = /bin/\0cat")
    assert not found.document.services
    assert any("netd cannot have it: command: " in line for line in found.lines)
