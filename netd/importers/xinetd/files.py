"""The main file and those that it includes, in the order in which xinetd reads them."""

import os
from collections.abc import Iterator

from netd.errors import ConfigError
from netd.importers.account import Outcome
from netd.importers.source_files import MOST_FILES, DeniedError, Files, TooMuchError, UnreadableError
from netd.importers.xinetd.entries import Entry, entries
from netd.importers.xinetd.telling import Teller
from netd.text import printable

_DEEPEST = 16


def read(file: str, teller: Teller) -> Iterator[Entry]:
    """All entries of a file, and of those that it includes where it does. Raises `ConfigError`."""
    files = Files()
    try:
        lines = files.read(file)
    except UnreadableError as error:
        raise ConfigError([f"{printable(file)}: cannot be read: {error}"]) from None
    yield from _follow(entries(lines), files, teller, 1)


def _follow(found: Iterator[Entry], files: Files, teller: Teller, depth: int) -> Iterator[Entry]:
    defaults = False
    for entry in found:
        if entry.keyword == "defaults" and not entry.fault:
            if defaults:
                entry.fault = "it is the second one in this file, which xinetd skips"
            defaults = True
        if entry.fault or not entry.keyword.startswith("include"):
            yield entry
            continue
        yield Entry("comment", "", entry.place, "", entry.comments)
        if depth >= _DEEPEST:
            raise ConfigError([f"{entry.place}: files include each other more than {_DEEPEST} deep"])
        for path in _included(entry, teller):
            try:
                lines = files.read(path)
            except TooMuchError as error:
                raise ConfigError([f"{entry.place}: {error}"]) from None
            except DeniedError as error:
                teller.tell_place(entry.place, entry.text, Outcome.LEFT_OUT, f"{path}: {error}")
                continue
            except UnreadableError as error:
                teller.note(entry, f"{path} cannot be read ({error}): xinetd goes on without it")
                continue
            yield from _follow(entries(lines), files, teller, depth + 1)
        teller.tell_rest(entry)


def _included(entry: Entry, teller: Teller) -> list[str]:
    """The files of an `include` or `includedir`."""
    path = os.path.join("/", entry.name)
    if not entry.name.startswith("/"):
        teller.note(entry, f"xinetd reads it from its working directory, as {path}")
    if entry.keyword == "include":
        return [path]
    try:
        names = sorted(os.listdir(path), key=os.fsencode)
    except PermissionError:
        text = "this user may not read it; run the import as root"
        teller.tell_place(entry.place, entry.text, Outcome.LEFT_OUT, text)
        return []
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        teller.note(entry, f"it cannot be read ({reason}): xinetd goes on without it")
        return []
    if len(names) > MOST_FILES:
        raise ConfigError([f"{entry.place}: more than {MOST_FILES} files"])
    skipped = [name for name in names if "." in name or name.endswith("~")]
    if skipped:
        names_text = ", ".join(skipped[:20])
        teller.note(entry, f"xinetd does not read names with a dot, or with a tilde at the end: {names_text}")
    paths = [os.path.join(path, name) for name in names if name not in skipped]
    return [one for one in paths if not os.path.isdir(one)]
