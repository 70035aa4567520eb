"""The files that ``include`` names."""

import glob
import os
import re

from netd.text import shown

_MOST_FILES = 1000

Faults = list[tuple[tuple[int, ...], str]]
"""The position in the list of each fault, empty for the whole of it, and the message."""


def included_files(base: str, patterns: object) -> tuple[list[str], Faults]:
    """The files of a list of names and patterns, each once, in its order, and what is wrong with the list.

    Relative names begin at ``base``. Without a list (None) there are none.
    """
    if patterns is None:
        return [], []
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        return [], [((), f"expected a list of file names, got {shown(patterns)}")]
    if len(patterns) > _MOST_FILES:
        return [], [((_MOST_FILES,), f"more than {_MOST_FILES} files or patterns")]
    files: dict[str, None] = {}
    faults: Faults = []
    for number, pattern in enumerate(patterns):
        try:
            files.update(dict.fromkeys(find_files(base, pattern)))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            faults.append(((number,), f"{os.path.join(base, pattern)!r}: {reason}"))
        if len(files) > _MOST_FILES:
            return [], [*faults, ((number,), f"more than {_MOST_FILES} files")]
    return list(files), faults


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
