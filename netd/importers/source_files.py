"""Reads the files of the source: regular files only, and no more than an import may cost."""

import errno
import os
import stat
from dataclasses import dataclass

from netd.importers.account import Place

LARGEST_FILE = 2**20
MOST_FILES = 1000
MOST_OCTETS = 16 * 2**20


class UnreadableError(Exception):
    """A file that cannot be read, with the reason."""


class DeniedError(UnreadableError):
    """A file that this user may not read; the daemon, as root, may."""


class TooMuchError(UnreadableError):
    """All files together are more than an import reads."""


@dataclass(frozen=True)
class Line:
    """A line of a file, without its line end. Octets that are no UTF-8 are surrogates (PEP 383)."""

    place: Place
    text: str


class Files:
    """Reads files, and counts what they take together."""

    def __init__(self) -> None:
        self._files = 0
        self._octets = 0

    def read(self, path: str) -> list[Line]:
        """The lines of a file; the last one also where it has no line end. Raises `UnreadableError`."""
        self._files += 1
        if self._files > MOST_FILES:
            raise TooMuchError(f"more than {MOST_FILES} files")
        try:
            content = _content(path)
        except PermissionError:
            raise DeniedError("this user may not read it; run the import as root") from None
        except OSError as error:
            raise UnreadableError(os.strerror(error.errno or errno.EIO)) from None
        except ValueError as error:  # a NUL in the path
            raise UnreadableError(str(error)) from None
        if len(content) > LARGEST_FILE:
            raise UnreadableError("the file is larger than 1 MiB")
        self._octets += len(content)
        if self._octets > MOST_OCTETS:
            raise TooMuchError(f"the files have more than {MOST_OCTETS // 2**20} MiB together")
        texts = content.decode("utf-8", "surrogateescape").split("\n")
        if not texts[-1]:
            texts.pop()
        return [Line(Place(path, number), text) for number, text in enumerate(texts, 1)]


def _content(path: str) -> bytes:
    """At most one octet more than a file may have. Raises OSError, ValueError and `UnreadableError`."""
    # A FIFO would block, and a terminal could become that of this process.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnreadableError("not a regular file")
        with open(descriptor, "rb", closefd=False) as stream:
            return stream.read(LARGEST_FILE + 1)
    finally:
        os.close(descriptor)
