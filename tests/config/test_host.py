"""What a config needs of this host."""

from pathlib import Path

from netd.config.host import missing_directory


def test_directory_of_a_file_is_missing_if_it_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert missing_directory(f"{tmp_path}/log") == ""
    assert missing_directory("/log") == missing_directory("syslog") == ""
    for directory in (tmp_path / "none", tmp_path / "file", tmp_path / "file" / "x"):
        assert missing_directory(f"{directory}/log") == str(directory)


def test_directory_that_cannot_be_looked_up_is_not_called_missing() -> None:
    assert missing_directory(f"/{'x' * 300}/log") == "", "the name is too long"
