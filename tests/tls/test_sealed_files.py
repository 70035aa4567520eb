"""Copies of files in sealed memory."""

import os
from pathlib import Path

import pytest

from netd.tls.sealed_files import LONGEST, SealedFiles


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(b"one")
    return made


def test_files_follow_each_other_in_memory_that_cannot_be_changed(tmp_path: Path, file: Path) -> None:
    (tmp_path / "two").write_bytes(b"two\n")
    copy = SealedFiles.copy([str(file), str(tmp_path / "two")])
    assert Path(copy.path).read_bytes() == b"one\ntwo\n\n"
    for change in (lambda: os.write(copy.descriptor, b"x"), lambda: os.ftruncate(copy.descriptor, 1)):
        with pytest.raises(PermissionError):
            change()
    with pytest.raises(OSError), open(copy.path, "r+b") as writable:  # noqa: PT011  EPERM or EACCES
        writable.write(b"x")


def test_copies_of_the_same_content_are_equal(file: Path) -> None:
    before = SealedFiles.copy([str(file)])
    again = SealedFiles.copy([str(file)])
    assert before == again
    assert hash(before) == hash(again)
    file.write_bytes(b"two")
    assert SealedFiles.copy([str(file)]) != before


def test_another_process_gets_an_equal_copy_by_the_descriptor(file: Path) -> None:
    copy = SealedFiles.copy([str(file)])
    assert SealedFiles(os.dup(copy.descriptor)) == copy


def test_descriptor_is_closed_with_its_object(file: Path) -> None:
    copy = SealedFiles.copy([str(file)])
    descriptor = copy.descriptor
    del copy
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_only_regular_files_of_some_length_are_copied(tmp_path: Path, file: Path) -> None:
    before = os.listdir("/proc/self/fd")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "long").write_bytes(bytes(LONGEST + 1))
    for path, reason in ((tmp_path / "fifo", "regular"), (tmp_path, "regular"), (tmp_path / "long", "longer")):
        with pytest.raises(ValueError, match=reason):
            SealedFiles.copy([str(file), str(path)])
    with pytest.raises(FileNotFoundError) as caught:
        SealedFiles.copy([str(tmp_path / "none")])
    assert caught.value.filename == str(tmp_path / "none")
    assert os.listdir("/proc/self/fd") == before
