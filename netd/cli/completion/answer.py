"""What a command line can go on with, for the script of a shell.

The script runs ``netd`` with the line up to the cursor in ``$COMP_LINE``, and reads lines of a kind and a value:
``plain`` is a word; ``file`` and ``dir`` ask the shell for its own completion. Whatever goes wrong, nothing is
completed and nothing is printed: a message would be in the middle of the line that is typed.
"""

import os
import sys
from typing import NoReturn

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from netd.errors import EXIT_OK
from netd.text import printable


def answer(netd: click.Command, shell: str) -> NoReturn:
    """Print what the line in ``$COMP_LINE`` can go on with, for a shell, and exit with code 0."""
    try:
        sys.stdout.write(completions(netd, shell, os.environ.get("COMP_LINE", "")))
        sys.stdout.flush()
    except Exception:  # noqa: S110  # see above
        pass
    os._exit(EXIT_OK)


def completions(netd: click.Command, shell: str, line: str) -> str:
    """What a command line up to the cursor can go on with, in the form in which the script of this shell reads it."""
    args, incomplete = _words(line)
    items = ShellComplete(netd, {}, "netd", "").get_completions(args, incomplete)
    option = ""
    if shell == "fish" and incomplete.startswith("--") and "=" in incomplete:
        option = incomplete[: incomplete.index("=") + 1]  # fish replaces the whole word, the others what is behind it
    return "".join(f"{_line(shell, item, option)}\n" for item in items)


def _words(line: str) -> tuple[list[str], str]:
    """The complete words behind the name of the program, and the one that the cursor is in or behind."""
    words = split_arg_string(line)
    if not words or (line[-1:].isspace() and not line.endswith("\\ ")):
        words.append("")
    *args, incomplete = words[1:] or [""]
    return args, incomplete


def _line(shell: str, item: CompletionItem, option: str) -> str:
    text = " ".join(printable(item.help or "").split())
    value = option + printable(str(item.value))
    match shell:
        case "zsh":
            return f"{item.type}\n{value}\n{text}"
        case "fish" if text:
            return f"{item.type},{value}\t{text}"
    return f"{item.type},{value}"
