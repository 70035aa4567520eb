"""The file of the lines typed at a terminal."""

import os
import stat
from pathlib import Path

import pytest

from netd.client.talk.history import HistoryFile, history_path


def test_history_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "there" / "history"
    history = HistoryFile(str(file))
    assert list(history.load_history_strings()) == []
    for number in range(2001):
        history.store_string(f"line {number}")
    latest = [f"line {number}" for number in range(2000, 1000, -1)]
    assert list(HistoryFile(str(file)).load_history_strings()) == latest
    assert len(file.read_text().splitlines()) == 1000
    assert list(HistoryFile(str(file)).load_history_strings()) == latest


def test_history_of_long_lines_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "history"
    file.write_text("".join(f"{number} {'x' * 5000}\n" for number in range(300)))
    lines = list(HistoryFile(str(file)).load_history_strings())
    assert lines[0] == "299 " + "x" * 5000
    assert {len(line) for line in lines} <= {5002, 5003, 5004}
    assert 100 < len(lines) < 300
    assert file.stat().st_size <= 2**20


def test_history_is_in_memory_where_there_can_be_no_file() -> None:
    for history in (HistoryFile(None), HistoryFile("/dev/null/history")):
        history.append_string("hello")
        assert history.get_strings() == ["hello"]
        assert list(history.load_history_strings()) == []


def test_file_that_is_not_regular_is_left_alone(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for file in (str(fifo), "/dev/zero", str(tmp_path)):
        history = HistoryFile(file)
        assert list(history.load_history_strings()) == []
        history.append_string("hello")
        assert history.get_strings() == ["hello"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_link_is_read_and_written_and_never_shortened(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    text = "".join(f"{number} {'x' * 100}\n" for number in range(20_000))
    kept.write_text(text)
    (tmp_path / "history").symlink_to(kept)
    history = HistoryFile(str(tmp_path / "history"))
    assert len(list(history.load_history_strings())) == 1000
    history.append_string("more")
    assert kept.read_text() == text + "more\n"
    assert (tmp_path / "history").is_symlink()


def test_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "history"
    file.write_text("before\n")
    file.chmod(0o644)
    HistoryFile(str(file)).append_string("after")
    assert file.read_text() == "before\nafter\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("line\n" * 3000)
    file.chmod(0o644)
    HistoryFile(str(file)).load_history_strings()
    assert len(file.read_text().splitlines()) == 1000
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["history"]


def test_line_with_a_blank_before_it_and_hidden_ones_are_not_kept(tmp_path: Path) -> None:
    hidden = False
    history = HistoryFile(str(tmp_path / "history"), lambda: hidden)
    for line in ("one", " two", "", "three"):
        history.append_string(line)
    hidden = True
    history.append_string("secret")
    assert (tmp_path / "history").read_text() == "one\n\nthree\n"
    assert "secret" not in history.get_strings()


@pytest.mark.parametrize(
    ("state", "where"), [("/x", "/x/netd/talk_history"), ("x", "~/.local/state/netd/talk_history")]
)
def test_file_is_in_the_state_directory_of_the_user(monkeypatch: pytest.MonkeyPatch, state: str, where: str) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", state)
    assert history_path() == os.path.expanduser(where)
