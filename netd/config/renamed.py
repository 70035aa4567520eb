"""Keys that were renamed: the old name is accepted, with a notice."""

from netd.config.problems import Problem
from netd.config.source import Source

RENAMED = {
    "daemon": {"beat": "heartbeat"},
    "log": {"access": "connections"},
    "bans": {"after": "threshold", "first": "duration", "longest": "max_duration"},
}
"""For each section, the new names by the old ones."""


def rename_keys(part: Source) -> tuple[list[Problem], list[Problem]]:
    """Rename old keys in the tree. Returns problems and notices.

    A key that is given by both names is a problem.
    """
    problems, notices = [], []
    for section, keys in RENAMED.items():
        given = part.tree.get(section)
        if not isinstance(given, dict):
            continue
        for old, new in keys.items():
            if old not in given:
                continue
            mark = part.mark((section, old), key=True)
            if new in given:
                (first, _), (second, name) = sorted(((mark, old), (part.mark((section, new), key=True), new)))
                message = f"duplicate key, first in line {first.line}: '{old}' is the old name of '{new}'"
                problems.append(Problem(second, (section, name), message))
            else:
                notices.append(Problem(mark, (section, old), f"deprecated key, renamed to {section}.{new}"))
            part.rename(section, old, new)
    return problems, notices
