"""What a new config changes, and that it costs only what differs."""

from pathlib import Path

import pytest

from netd.admission.access_memory import AccessPlace
from netd.admission.access_table import Access
from netd.config import loader
from netd.config.model import Config
from netd.daemon.supervisor.config_diff import Change, compare, serves_otherwise


def load(tmp_path: Path, access: str, defaults: str = "", limits: str = "") -> Config:
    (tmp_path / "netd.yaml").write_text(
        f"defaults: {{access: {{{defaults}}}, limits: {{{limits}}}}}\nservices:\n"
        f"  echo: {{listen: ['unix://@e'], access: {{{access}}}}}\n"
        "  same: {type: echo, listen: ['unix://@s']}\n"
        "  upper: {listen: ['unix://@u']}\n"
    )
    return loader.load(tmp_path / "netd.yaml")


def changed(service: str, *details: str) -> Change:
    return Change(service, "changed", details, "untouched")


def test_rules_that_differ_are_told_as_they_are_written(tmp_path: Path) -> None:
    old = load(tmp_path, "deny: [10.0.0.0/8, 'uid:root'], times: ['08:00-18:00']")
    new = load(tmp_path, "deny: [10.0.0.0/8], allow: [any, 'gid:27'], times: ['08:00-18:00 UTC']")
    details = (
        "access.allow: [] -> [any, gid:27]",
        "access.deny: [10.0.0.0/8, uid:0] -> [10.0.0.0/8]",
        "access.times: [08:00-18:00] -> [08:00-18:00 UTC]",
    )
    assert compare(old, new) == [changed("echo", *details)]
    assert [serves_otherwise(*pair) for pair in zip(old.services, new.services, strict=True)] == [True, False, False]


def test_rules_of_defaults_change_each_service_that_has_them(tmp_path: Path) -> None:
    old, new = load(tmp_path, "deny: []"), load(tmp_path, "deny: []", "deny: [any]")
    detail = "access.deny: [] -> [any]"
    assert compare(old, new) == [changed("same", detail), changed("upper", detail)]


def test_rules_are_read_only_where_they_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[AccessPlace] = []
    real = AccessPlace.read

    def counted(place: AccessPlace) -> Access:
        read.append(place)
        return real(place)

    monkeypatch.setattr(AccessPlace, "read", counted)
    old, new = load(tmp_path, "deny: [any]", "deny: [local]"), load(tmp_path, "deny: []", "deny: [local]")
    assert compare(old, load(tmp_path, "deny: [any]", "deny: [local]")) == []
    longer = load(tmp_path, "deny: [any]", "deny: [local]", "idle: 1m")
    assert compare(old, longer)[0] == changed("echo", "limits.idle: 300s -> 60s")
    assert read == []
    assert [change.service for change in compare(old, new)] == ["echo"]
    assert read == [old.services[0].access, new.services[0].access]
