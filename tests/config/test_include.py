"""The files that ``include`` names."""

from pathlib import Path

import pytest

from netd.config.include import find_files


def test_pattern_matches_files_in_order_and_a_name_is_itself(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", "[x].yaml", "c.txt"):
        (tmp_path / name).touch()
    base = str(tmp_path)
    assert find_files(base, "?.yaml") == [f"{base}/a.yaml", f"{base}/b.yaml"]
    assert find_files(base, "[x].yaml") == [f"{base}/[x].yaml"]
    assert find_files(base, "[x]*") == [f"{base}/[x].yaml"]
    assert find_files(base, f"{base}/c.txt") == [f"{base}/c.txt"]
    assert find_files(base, "none/*.yaml") == []


def test_missing_file_and_name_with_nul_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_files(str(tmp_path), "none.yaml")
    with pytest.raises(ValueError, match="NUL"):
        find_files(str(tmp_path), "a\0*")
