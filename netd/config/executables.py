"""What this host has of a program: the file, its interpreter, and which users may execute and write them.

Permissions are those of the mode bits; access control lists (acl(5)) are not read. So a right that is missing is a
notice, and a file that is missing a problem.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from typing import NamedTuple

from netd.accounts import user_name
from netd.text import shown

_MOST_LINKS = 40  # as the kernel follows (path_resolution(7))
_LONGEST_LINE = 256  # that the kernel reads of a script (execve(2))
_MOST_INTERPRETERS = 4
READ, _WRITE, EXECUTE = 4, 2, 1


class User(NamedTuple):
    """The user that a program runs as."""

    uid: int
    groups: frozenset[int] = frozenset()

    def may(self, right: int, status: os.stat_result) -> bool:
        """Whether the mode bits of a file give this user a right."""
        if self.uid == 0:
            return right != EXECUTE or bool(status.st_mode & 0o111) or stat.S_ISDIR(status.st_mode)
        if self.uid == status.st_uid:
            return bool(status.st_mode >> 6 & right)
        if status.st_gid in self.groups:
            return bool(status.st_mode >> 3 & right)
        return bool(status.st_mode & right)


class Fault(NamedTuple):
    """What is wrong with a file, and what to do. A notice: what only may be wrong."""

    message: str
    hint: str = ""
    is_notice: bool = False


def place(root: str, path: str) -> str:
    """Where this process finds the path that a process with this root directory means: links lead where they do there.

    Raises OSError for links in a circle.
    """
    if root == "/":
        return path
    found, links = root, 0
    steps = path.split("/")[::-1]
    while steps:
        step = steps.pop()
        if step in ("", "."):
            continue
        if step == "..":
            found = found if found == root else os.path.dirname(found)
            continue
        here = os.path.join(found, step)
        try:
            target = os.readlink(here)
        except OSError:
            found = here
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        found = root if target.startswith("/") else found
        steps += target.split("/")[::-1]
    return found


def directory_fault(root: str, path: str) -> str:
    """Why a path is no directory; empty if it is one, or if this process may not see that."""
    try:
        return "" if stat.S_ISDIR(os.stat(place(root, path)).st_mode) else f"{path} is no directory{_in(root)}"
    except PermissionError:
        return ""
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        return f"there is no directory {path}{_in(root)}" if missing else f"{path}: {error.strerror}"


def command_faults(root: str, path: str, user: User, *, guarded: bool) -> Iterator[Fault]:
    """What is wrong with a program and its interpreters; with ``guarded``, also that users may write them."""
    name = f"the program {path}"
    root = os.path.realpath(root)
    for _ in range(_MOST_INTERPRETERS):
        try:
            if not path.startswith("/"):
                yield Fault(f"{name} is no absolute path")
                return
            file = os.path.realpath(place(root, path))
            status = os.stat(file)
            if not stat.S_ISREG(status.st_mode):
                what = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
                yield Fault(f"{name} is {what}")
                return
            if not status.st_mode & 0o111:
                yield Fault(f"{name} is not executable", f"chmod +x {file}")
                return
            yield from _forbidden(name, root, file, status, user)
            if guarded:
                yield from _writable(name, file, status, user)
            path = _interpreter(file)
        except PermissionError:
            return  # this process may not see it
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            where = _in(root)
            hint = "that file has CR LF at its line ends" if path.endswith("\r") else ""
            yield Fault(f"{name} does not exist{where}" if missing else f"{name}: {error.strerror}", hint)
            return
        except _NoFormatError:
            yield Fault(f"{name} has no line #!, and is no ELF file", "begin it with #!/bin/sh", is_notice=True)
            return
        if not path:
            return
        name = f"the interpreter {shown(path)[1:-1]} of {file}"
        if not user.may(READ, status):
            yield Fault(f"user {user_name(user.uid)} may not read the script {file}", is_notice=True)


class _NoFormatError(Exception):
    """A file that the kernel executes only by binfmt_misc."""


def _interpreter(file: str) -> str:
    """The interpreter of a script; empty for an ELF file."""
    with open(file, "rb") as opened:
        line = opened.read(_LONGEST_LINE).partition(b"\n")[0]
    if line.startswith(b"\x7fELF"):
        return ""
    if not (match := re.match(rb"#![ \t]*([^ \t\0]+)", line)):
        raise _NoFormatError
    return os.fsdecode(match[1])


def _forbidden(name: str, root: str, file: str, status: os.stat_result, user: User) -> Iterator[Fault]:
    """That the user may not execute the file, or enter a directory above it, from the root directory on."""
    for directory in _directories(file):
        if directory.startswith(root) and not user.may(EXECUTE, os.stat(directory)):
            yield Fault(f"{name}: user {user_name(user.uid)} may not enter {directory}", is_notice=True)
            return
    if not user.may(EXECUTE, status):
        yield Fault(f"{name}: user {user_name(user.uid)} may not execute it", is_notice=True)


def _writable(name: str, file: str, status: os.stat_result, user: User) -> Iterator[Fault]:
    """That the program's own user may write the file or exchange it, or for a program of root any other user."""
    for path in (file, *_directories(file)):
        one = status if path == file else os.stat(path)
        is_shared = path != file and one.st_mode & stat.S_ISVTX  # as /tmp: only the owner of a file may exchange it
        if one.st_mode & 0o002 and not is_shared:
            writer = "every user"
        elif one.st_uid not in (0, user.uid) and user.uid == 0:
            writer = f"user {user_name(one.st_uid)}"
        elif one.st_mode & 0o020 and not is_shared and one.st_gid and (user.uid == 0 or one.st_gid in user.groups):
            writer = f"group {one.st_gid}"
        elif one.st_uid == user.uid != 0:
            writer = f"user {user_name(user.uid)}, which it runs as,"
        else:
            continue
        yield Fault(f"{name} can be changed: {writer} may write {path}", "give it to root", is_notice=True)
        return


def _directories(file: str) -> Iterator[str]:
    while file != "/":
        file = os.path.dirname(file)
        yield file


def _in(root: str) -> str:
    return "" if root == "/" else f" in the root directory {root}"
