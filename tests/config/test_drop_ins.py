"""The drop-ins that a config needs under systemd."""

from pathlib import Path

import pytest

from netd.config import drop_ins, loader
from tests.support.programs import need_root

CAT = "command: [/bin/cat]"
NEEDS = f"under systemd this needs the drop-in {{}} in {drop_ins._PLACES[0]}"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host that systemd runs, without drop-ins."""
    (tmp_path / "netd.service.d").mkdir()
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(drop_ins, "_BOOTED", str(tmp_path))
    return tmp_path


def noticed(host: Path, options: str, daemon: str = "{}") -> list[str]:
    """The notices about drop-ins, with their keys."""
    file = host / "netd.yaml"
    file.write_text(
        f"daemon: {daemon}\nservices:\n"
        f"  x: {{type: exec, listen: [tcp://127.0.0.1:0], options: {{{CAT}, {options}}}}}\n"
    )
    return [
        f"{notice.subject}: {notice.message}" for notice in loader.load(file).notices if "drop-in" in notice.message
    ]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ("user: root", "user"),
        ("group: daemon", "group"),
        ("groups: false", "groups"),
        ("root: /, user: daemon", "user"),
        ("no_new_privileges: false", "no_new_privileges"),
        ("nice: -5", "nice"),
        ("nice: 5", "nice"),
    ],
)
def test_option_that_the_unit_does_not_permit_is_noticed_once(host: Path, options: str, key: str) -> None:
    need_root()
    assert noticed(host, options) == [f"services.x.options.{key}: {NEEDS.format('programs.conf')}"]


def test_option_that_the_unit_permits_is_not_noticed(host: Path) -> None:
    assert noticed(host, "umask: 077, stderr: null, limits: {memory: 1GiB}") == []


def test_programs_that_go_on_after_a_stop_need_a_drop_in(host: Path) -> None:
    assert noticed(host, "umask: 077", "{on_stop: leave}") == [f"daemon.on_stop: {NEEDS.format('programs-leave.conf')}"]
    assert noticed(host, "umask: 077", "{on_stop: kill}") == []


def test_drop_in_that_is_installed_is_not_noticed(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drop_ins, "_PLACES", (str(host / "none"), str(host / "netd.service.d")))
    assert len(noticed(host, "nice: 5", "{on_stop: leave}")) == 2
    for name in ("programs.conf", "programs-leave.conf"):
        (host / "netd.service.d" / name).touch()
    assert noticed(host, "nice: 5", "{on_stop: leave}") == []


def test_config_is_not_noticed_within_the_unit_or_without_systemd(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(noticed(host, "nice: 5")) == 1
    monkeypatch.setenv("NOTIFY_SOCKET", str(host / "notify"))
    assert noticed(host, "nice: 5") == []
    monkeypatch.delenv("NOTIFY_SOCKET")
    monkeypatch.setattr(drop_ins, "_BOOTED", str(host / "none"))
    assert noticed(host, "nice: 5") == []
