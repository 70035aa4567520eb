"""What a config needs of this host."""

from pathlib import Path

from netd.config.host import log_file_fault, missing_directory


def test_directory_of_a_file_is_missing_if_it_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert missing_directory(f"{tmp_path}/log") == ""
    assert missing_directory("/log") == missing_directory("syslog") == ""
    for directory in (tmp_path / "none", tmp_path / "file", tmp_path / "file" / "x"):
        assert missing_directory(f"{directory}/log") == str(directory)


def test_directory_that_cannot_be_looked_up_is_not_called_missing() -> None:
    assert missing_directory(f"/{'x' * 300}/log") == "", "the name is too long"


def test_log_file_that_cannot_be_opened_has_a_fault(tmp_path: Path) -> None:
    assert log_file_fault(f"{tmp_path}/log") is log_file_fault("syslog") is None
    assert log_file_fault(str(tmp_path)) == (f"{tmp_path} is a directory", "name a file in it")
    assert str(log_file_fault(f"{tmp_path}/none/log")).startswith(f"('there is no directory {tmp_path}/none', 'make it")
