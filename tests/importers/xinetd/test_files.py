"""Files that include others."""

import os
from pathlib import Path

import pytest

from netd.errors import ConfigError
from netd.importers import source_files
from tests.importers.xinetd.reading import Imported, of_text

ENTRY = (
    "service {}\n{{\ntype = UNLISTED\nport = {}\nwait = no\nsocket_type = stream\nuser = root\nserver = /bin/cat\n}}\n"
)


def test_a_directory_is_read_in_the_order_of_octets_and_without_dots(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for number, name in enumerate(("b", "B", "a", "c.conf", ".d", "e~")):
        (folder / name).write_text(ENTRY.format(f"s-{number}", 1025 + number))
    (folder / "sub").mkdir()
    (tmp_path / "other").write_text(ENTRY.format("linked", 1050))
    (folder / "z").symlink_to(tmp_path / "other")
    result = of_text(tmp_path, f"# all\nincludedir {folder}\n")
    assert list(result.services) == ["s-1", "s-2", "s-0", "linked"]
    assert result.lines[0].endswith("a dot, or with a tilde at the end: .d, c.conf, e~")
    assert result.document.heading == ["all"]


def test_each_file_has_its_own_defaults_and_no_second_ones(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("defaults\n{\nonly_from = 10.0.0.1\n}\n" + ENTRY.format("a", 1025))
    text = f"defaults\n{{\nper_source = 3\n}}\ninclude {tmp_path}/one\ndefaults\n{{\ninstances = 1\n}}\n"
    result = of_text(tmp_path, text)
    assert result.services["a"]["limits"] == {"per_source": 3}
    assert result.services["a"]["access"] == {"allow": ["10.0.0.1"]}
    assert "second one in this file" in "".join(result.about("defaults"))


def test_files_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    text = f"include {tmp_path}/none\ninclude {tmp_path}/fifo\nincludedir {tmp_path}/nowhere\ninclude\n"
    result = of_text(tmp_path, text + ENTRY.format("a", 1025))
    assert list(result.services) == ["a"]
    assert [("goes on without it" in line) for line in result.lines[:4]] == [True, True, True, False]


def test_files_that_include_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="more than 16 deep"):
        of_text(tmp_path, f"include {tmp_path}/xinetd.conf\n")


def test_a_main_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "xinetd.conf")
    with pytest.raises(ConfigError, match=r"xinetd.conf: cannot be read: not a regular file"):
        Imported(tmp_path / "xinetd.conf")


def test_files_that_this_user_may_not_read_are_told_as_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read all, so that an ordinary user is stood in for."""

    def denied(*arguments: object) -> bytes:
        raise PermissionError

    file = tmp_path / "xinetd.conf"
    file.write_text(f"includedir {tmp_path}/d\n")
    (tmp_path / "d").mkdir()
    monkeypatch.setattr("os.listdir", denied)
    assert [line.partition(": ")[2][:12] for line in Imported(file).lines] == ["not imported"]
    monkeypatch.undo()
    (tmp_path / "d" / "one").write_text("")
    content = source_files._content
    monkeypatch.setattr(source_files, "_content", lambda path: denied() if path.endswith("one") else content(path))
    [line] = Imported(file).lines
    assert "not imported: includedir" in line
    assert "run the import as root" in line
