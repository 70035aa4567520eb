"""The Gopher server in examples/."""

from pathlib import Path

import pytest

from netd.testing import PEER, script
from tests.source_tree import ROOT
from tests.support.code import load

FILE = ROOT / "examples" / "gopher.py"


def answer(directory: Path, selector: bytes) -> bytes:
    _, gopher = load(str(FILE), "Gopher", FILE.read_text(), directory=str(directory), host="gopher.example")
    conversation = script(gopher, PEER).receives(selector + b"\r\n")
    sent = conversation.output()
    conversation.ends()
    return sent


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "above").write_text("no")
    (root := tmp_path / "root").mkdir()
    (root / "a.txt").write_text("one\n.two\n")
    (root / ".hidden").write_text("no")
    (root / "link").symlink_to(tmp_path / "above")
    (root / "menu").mkdir()
    return root


def test_menu_has_the_files_and_the_menus(files: Path) -> None:
    (files / "link").unlink()
    menu = b"0a.txt\t/a.txt\tgopher.example\t7\r\n1menu\t/menu\tgopher.example\t7\r\n.\r\n"
    for selector in (b"", b"/", b"\tsearch"):
        assert answer(files, selector) == menu
    assert answer(files, b"/menu") == b".\r\n"


def test_file_ends_with_a_full_stop_and_a_line_with_one_is_escaped(files: Path) -> None:
    assert answer(files, b"/a.txt") == b"one\r\n..two\r\n.\r\n"


@pytest.mark.parametrize("selector", [b"/none", b"/../above", b"/.hidden", b"/link", b"/a.txt/x", b"/\0"])
def test_file_that_is_not_served_is_an_error(files: Path, selector: bytes) -> None:
    assert answer(files, selector).startswith(b"3there is no ")


def test_directory_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no directory"):
        load(str(FILE), "Gopher", FILE.read_text(), directory=str(tmp_path / "none"))
