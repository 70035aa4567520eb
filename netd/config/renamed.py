"""Keys that had another name: the old one means the same, and is told of."""

from netd.config.source import Problem, Source

RENAMED = {
    "daemon": {"beat": "heartbeat"},
    "log": {"access": "connections"},
    "bans": {"after": "threshold", "first": "duration", "longest": "max_duration"},
}
"""By section: the old names, and what they are called now."""


def rename_keys(part: Source) -> tuple[list[Problem], list[Problem]]:
    """Put the values of old keys under the names of today. Returns what is wrong, and what the operator should know.

    Wrong is only a key that stands there by both names.
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
                message = f"'{old}' is the old name of '{new}': this key stands twice, first in line {first.line}"
                problems.append(Problem(second, (section, name), message))
            else:
                notices.append(Problem(mark, (section, old), f"this key is called {section}.{new} now"))
            part.rename(section, old, new)
    return problems, notices
