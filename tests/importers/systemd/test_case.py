"""What is told of assignments."""

from pathlib import Path

from netd.importers.systemd.case import unescaped
from tests.importers.made_up_host import MadeUpHost
from tests.importers.systemd.units import accepting, imported


def test_an_assignment_that_a_later_one_replaces_is_told(tmp_path: Path) -> None:
    service, account = accepting(tmp_path, "Backlog=5\nBacklog=6")
    assert service.get("listen") == ["tcp://*:80?backlog=6"]
    assert "note: Backlog=5: a later Backlog= is in force" in account


def test_conditions_on_paths_are_asked_once(tmp_path: Path) -> None:
    host = MadeUpHost()
    text = "# == .socket\n[Unit]\nConditionPathExists={}\n[Socket]\nListenStream=80\n"
    text += "# == .service\n[Service]\nExecStart=/a\n"
    for condition, has_path, is_on in (
        ("/a", True, True),
        ("/a", False, False),
        ("!/a", False, True),
        ("!/%b", False, False),
    ):
        host.has_path = has_path
        document, account = imported(text.format(condition), tmp_path, host)
        assert document.services["x"].enabled is is_on
        assert ("it holds now" in account) is is_on


def test_lines_that_systemd_ignores_and_comments_at_the_end_are_kept(tmp_path: Path) -> None:
    service, account = accepting(tmp_path, "# one\nword\n# two")
    assert "note: word: systemd ignores it: it is no assignment" in account
    assert service.comments == ["one", "two"]


def test_names_are_unescaped() -> None:
    assert unescaped(r"a-b\x2dc") == "a/b-c"
