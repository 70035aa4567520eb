"""Directories and files with other owners."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that every user can enter and only root can write to; those of pytest are for one user."""
    with tempfile.TemporaryDirectory(prefix="netd-") as directory:
        os.chmod(directory, 0o711)
        yield Path(directory)


def directory_of(user: int, above: Path) -> Path:
    """Create a directory of another user in this one."""
    made = above / f"of-{user}"
    made.mkdir()
    os.chown(made, user, user)
    return made


def assert_untouched(secret: Path) -> None:
    """Assert that a file is as the fixture ``secret`` created it."""
    status = secret.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode), secret.read_text()) == (0, 0o600, "secret")
