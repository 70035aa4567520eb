"""Lines for agent-check of HAProxy: words that set the state and the weight of a server.

HAProxy reads one line of ASCII: words that blanks, tabs or commas separate, in upper or lower case. What the line does
not name stays as it is. After ``#`` may follow a reason, which HAProxy shows where the line names ``up``, ``down``,
``fail`` or ``stopped``. Its documentation has ``down#reason``; HAProxy 2.6 takes that for an unknown word, and leaves
the server as it is. A blank before ``#`` is right for all versions.
"""

import re

from netd.contract import Finished
from netd.services.check import verdict
from netd.text import printable, shown

_WORD = re.compile(r"up|down|fail|stopped|ready|drain|maint|\d{1,3}%|maxconn:\d{1,9}", re.ASCII | re.IGNORECASE)
_FAILED = {"down", "fail", "stopped"}
_LONGEST_REASON = 200

DEFAULTS = {"0": "up", "1": "up", "other": "down"}
"""Exit codes of Nagios: OK and WARNING serve."""


def normal(line: str) -> str | None:
    """The line as every HAProxy reads it; None if it is no line of an agent."""
    named, _, reason = line.partition("#")
    words = re.split(r"[ \t,]+", named.strip(" \t,"))
    if not all(map(_WORD.fullmatch, words)):
        return None
    reason = printable(reason.strip()[:_LONGEST_REASON]).encode("ascii", "replace").decode()
    return f"{' '.join(words)} #{reason}" if reason else " ".join(words)


def check_words(words: int | str) -> str:
    """The line that the config has for an exit code, as `normal` returns it; else raise ValueError."""
    line = normal(words) if isinstance(words, str) else None
    if line is None:
        raise ValueError(f"expected words of agent-check such as up, down, drain, maint or 50%, got {shown(words)}")
    return line


def answer(finished: Finished, codes: dict[str, str]) -> bytes:
    """The line for the end of a program: the one that the program has printed, else that of its exit code."""
    first = verdict.first_line(finished)
    line = normal(first)
    if line is None:
        line = verdict.find(codes, finished)
        if "#" not in line and _FAILED.intersection(line.lower().split()):
            line = normal(f"{line} #{first}") or line
    return line.encode("ascii") + b"\n"
