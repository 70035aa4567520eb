"""The files that a line ``.include PATTERN`` of NetBSD's inetd names."""

import glob
import itertools
import os

from netd.importers.source_files import MOST_FILES

MOST_DEEP = 16
"""How deep files may include each other."""


def matched(pattern: str, file: str) -> list[str]:
    """The files that a pattern matches, sorted; a relative one begins at the directory of the file that has it.

    Raises ValueError where these are more than an import reads. inetd reads them in the order of the directory, which
    only matters where two have the same address.
    """
    path = os.path.join(os.path.dirname(file), pattern)
    found = [*itertools.islice(glob.iglob(path), MOST_FILES + 1)]
    if len(found) > MOST_FILES:
        raise ValueError(f"more than {MOST_FILES} files")
    return sorted(found)
