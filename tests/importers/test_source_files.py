"""Reading of source files: bounds, and what is no file."""

import os
from pathlib import Path

import pytest

from netd.importers import source_files
from netd.importers.source_files import Files, UnreadableError


def test_lines_have_places_and_keep_octets_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"one\ntwo\r\n\xe9\n\nlast")
    lines = Files().read(str(file))
    assert [(line.place.line, line.text) for line in lines] == [
        (1, "one"),
        (2, "two\r"),
        (3, "\udce9"),
        (4, ""),
        (5, "last"),
    ]
    file.write_bytes(b"")
    assert Files().read(str(file)) == []


def test_other_than_regular_files_are_refused_and_nothing_waits_for_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (str(tmp_path / "fifo"), str(tmp_path), "/dev/null"):
        with pytest.raises(UnreadableError, match="not a regular file"):
            Files().read(path)
    for path in (str(tmp_path / "none"), "a\0b"):
        with pytest.raises(UnreadableError):
            Files().read(path)


def test_files_are_bounded_one_by_one_and_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * (source_files.LARGEST_FILE + 1))
    with pytest.raises(UnreadableError, match="larger than 1 MiB"):
        Files().read(str(file))
    file.write_bytes(b"x" * source_files.LARGEST_FILE)
    files = Files()
    for _ in range(16):
        files.read(str(file))
    with pytest.raises(UnreadableError, match="more than 16 MiB together"):
        files.read(str(file))
    monkeypatch.setattr(source_files, "MOST_FILES", 1)
    files = Files()
    files.read(str(file))
    with pytest.raises(UnreadableError, match="more than 1 files"):
        files.read(str(file))
