"""The files that ``include`` names."""

import glob
import os
import re


def find_files(base: str, pattern: str) -> list[str]:
    """The files that a pattern matches, sorted; a relative one begins at ``base``.

    Raises OSError if one without * and ? does not exist, and ValueError for NUL.
    """
    if "\0" in pattern:
        raise ValueError("a file name cannot contain the character NUL")
    path = os.path.join(base, pattern)
    if not re.search(r"[*?]", pattern):
        os.stat(path)
        return [path]
    directory = os.path.dirname(path)
    if os.path.isdir(directory):
        os.listdir(directory)  # raises an error if it cannot be read, which glob ignores
    return sorted(glob.glob(os.path.join(glob.escape(base), pattern.replace("[", "[[]"))))
