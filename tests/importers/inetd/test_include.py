"""The files that a line of NetBSD's inetd includes."""

from pathlib import Path

import pytest

from netd.importers.inetd.include import matched
from netd.importers.source_files import MOST_FILES


def test_relative_pattern_begins_at_the_directory_of_the_file(tmp_path: Path) -> None:
    for name in ("b.conf", "a.conf", ".hidden.conf", "c.txt"):
        (tmp_path / name).touch()
    assert matched("*.conf", f"{tmp_path}/inetd.conf") == [f"{tmp_path}/a.conf", f"{tmp_path}/b.conf"]
    assert matched(f"{tmp_path}/c*", "inetd.conf") == [f"{tmp_path}/c.txt"]
    assert matched("none*", f"{tmp_path}/inetd.conf") == []


def test_number_of_files_is_bounded(tmp_path: Path) -> None:
    for number in range(MOST_FILES + 1):
        (tmp_path / str(number)).touch()
    with pytest.raises(ValueError, match="more than"):
        matched("*", f"{tmp_path}/x")
