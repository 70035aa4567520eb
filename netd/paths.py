"""Files in directories that other users may change: which of them netd opens, changes and removes.

netd may be root, and a socket, a log or a pid file may stand in a directory of another user, which can put anything in
its place at any time, also between two system calls. So a path is walked once, its directory is held open, and what is
in it is changed through a descriptor of the very file. A symbolic link, on the way or where a log leads, is followed
only if root or netd's own user made it, and none but these can have put it there: a link of root's for another purpose
can be renamed, or get a second name, in a directory that other users may change. fs.protected_symlinks and
fs.protected_hardlinks (proc(5)) have such rules too, but not in every directory, and an administrator may switch them
off.
"""

import contextlib
import errno
import fcntl
import os
import socket
import stat
from dataclasses import dataclass

_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as many as the kernel follows (path_resolution(7))
_SIOCUNIXFILE = 0x89E0  # linux/un.h: gives a descriptor (O_PATH) of the file that a UNIX socket is bound to


@dataclass(frozen=True)
class Place:
    """A name in a directory, which is held open: it stays the same one, whatever becomes of its path."""

    directory: int
    """A descriptor (O_PATH)."""
    name: str
    kept: bool
    """Whether only root and netd's user can put another file here, or another directory on the way."""
    magic: bool = False
    """Whether it is a link of /proc, which the kernel alone can follow: what it leads to may have no path."""

    def __enter__(self) -> "Place":
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.directory)

    def holds(self, descriptor: int) -> bool:
        """Whether the file of this descriptor is the one that is here."""
        try:
            here = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(descriptor), here)

    def hold(self) -> int | None:
        """A descriptor (O_PATH) of what is here, also of a link; None for nothing."""
        try:
            return os.open(self.name, _NODE, dir_fd=self.directory)
        except FileNotFoundError:
            return None

    def open(self, flags: int, mode: int) -> int:
        """Open the file, and make it where ``flags`` say so. OSError also where another user has put it here."""
        flags |= os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # what is here may be a FIFO or a terminal
        descriptor = os.open(self.name, flags if self.magic else flags | os.O_NOFOLLOW, mode, dir_fd=self.directory)
        try:
            self._check(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _check(self, descriptor: int) -> None:
        if self.kept:
            return
        file = os.fstat(descriptor)
        if stat.S_ISREG(file.st_mode) and not self._is_only_name(descriptor):
            raise OSError(errno.EMLINK, "it is a hard link, in a directory that another user may change")
        around = os.fstat(self.directory)
        # As fs.protected_regular and fs.protected_fifos have it; elsewhere, who may write to the directory was let in.
        if around.st_mode & stat.S_ISVTX and not (is_ours(file.st_uid) or file.st_uid == around.st_uid):
            raise PermissionError(errno.EACCES, f"another user (uid {file.st_uid}) made it")

    def _is_only_name(self, descriptor: int) -> bool:
        """Whether the file has this name and no other; what was here, and is no more, may have another one."""
        try:
            here = os.stat(self.name, dir_fd=self.directory, follow_symlinks=self.magic)
        except FileNotFoundError:
            return False
        file = os.fstat(descriptor)
        return os.path.samestat(file, here) and max(here.st_nlink, file.st_nlink) <= 1


def is_ours(user: int) -> bool:
    """Whether a user is root or netd's own."""
    return user in (0, os.geteuid()) or (user == os.lstat("/").st_uid and not _root_is_mapped())


def _root_is_mapped() -> bool:
    """Whether root has a number in this user namespace; if not, it looks like the owner of "/" (user_namespaces(7))."""
    try:
        with open("/proc/self/uid_map") as lines:
            return any(line.split()[0] == "0" for line in lines)
    except FileNotFoundError:  # /proc is not mounted, or the kernel has no such namespaces
        return True


def find(path: str, *, follow: bool = False, make: bool = False) -> Place:
    """The place that a path names, whether or not there is a file; to be closed. OSError says why there is no way.

    ``follow`` goes on where the last step is a link, ``make`` makes the directories that are missing,
    and raises ValueError where `check_directory` does.
    """
    directory = os.open("/" if path.startswith("/") else ".", _NODE)
    steps = _steps(path)
    at = "/" if path.startswith("/") else "."
    kept, links = True, 0
    try:
        while True:
            if make:
                _refuse_exposed(at, os.fstat(directory))
            name = steps.pop() if steps else "."
            node = _look(name, directory, must=bool(steps), make=make)
            status = os.fstat(node) if node is not None else None
            keeps = _keeps(os.fstat(directory), status)
            kept = kept and keeps
            try:
                link = status is not None and stat.S_ISLNK(status.st_mode)
                if node is None or status is None or not (steps or (link and follow)):
                    return Place(directory, name, kept)
                if not link:
                    at = os.path.join(at, name)
                    directory, node = node, directory
                    continue
                if not is_ours(status.st_uid):
                    raise OSError(
                        errno.ELOOP, f"{name} is a symbolic link that another user made (uid {status.st_uid})"
                    )
                of_proc = _is_of_proc(status)
                if not (keeps or of_proc):
                    raise OSError(errno.ELOOP, f"{name} is a symbolic link in a directory that another user may change")
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if of_proc:
                    if not steps:
                        return Place(directory, name, kept, magic=True)
                    os.close(node)
                    node = None
                    at = os.path.join(at, name)
                    beyond = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=directory)
                    directory, node = beyond, directory
                    continue
                target = os.readlink("", dir_fd=node)
                steps += _steps(target)
                if target.startswith("/"):
                    top = os.open("/", _NODE)
                    os.close(directory)
                    at, directory = "/", top
            finally:
                if node is not None:
                    os.close(node)
    except BaseException:
        os.close(directory)
        raise


def _steps(path: str) -> list[str]:
    """The steps of a path, the last one first."""
    return [step for step in reversed(path.split("/")) if step not in ("", ".")]


def _look(name: str, directory: int, *, must: bool, make: bool) -> int | None:
    """A descriptor (O_PATH) of what is there, also of a link; None where nothing is and nothing ``must`` be."""
    try:
        return os.open(name, _NODE, dir_fd=directory)
    except FileNotFoundError:
        if not must:
            return None
        if not make:
            raise
    umask = os.umask(0o022)  # others may enter; what is in it has permissions of its own
    try:
        os.mkdir(name, 0o755, dir_fd=directory)
    finally:
        os.umask(umask)
    return os.open(name, _NODE, dir_fd=directory)


def _keeps(directory: os.stat_result, entry: os.stat_result | None) -> bool:
    """Whether only root and netd's user can have put this entry into a directory, and can put another in its place."""
    if not is_ours(directory.st_uid):
        return False
    if not directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return True
    # Any other file of root's may come here from a directory where this user could move it, or get a second name here;
    # a directory may not (rename(2): that takes the right to change it).
    sticky = bool(directory.st_mode & stat.S_ISVTX)
    return sticky and entry is not None and stat.S_ISDIR(entry.st_mode) and is_ours(entry.st_uid)


def _refuse_exposed(path: str, directory: os.stat_result) -> None:
    if not is_ours(directory.st_uid):
        raise ValueError(f"{path} belongs to another user (uid {directory.st_uid}); chown root {path}")
    if directory.st_mode & stat.S_IWOTH and not directory.st_mode & stat.S_ISVTX:
        raise ValueError(f"every user may exchange files in {path}; chmod o-w {path}")


def _is_of_proc(status: os.stat_result) -> bool:
    try:
        return status.st_dev == os.lstat("/proc/self").st_dev
    except OSError:  # not mounted
        return False


def open_file(path: str, flags: int, mode: int, *, follow: bool = False) -> int:
    """Open a file as open(2) does, but none that another user could have put there for netd to write to.

    OSError says why not. With ``follow``, a link of root's or netd's user's may lead elsewhere.
    """
    with find(path, follow=follow) as place:
        return place.open(flags, mode)


def hold(path: str) -> int | None:
    """A descriptor (O_PATH) of what is at a path, also of a link; None for nothing. OSError as of `find`."""
    with find(path) as place:
        return place.hold()


def by_descriptor(descriptor: int) -> str:
    """A path that leads to the file of a descriptor, and to no other one. OSError without /proc."""
    path = f"/proc/self/fd/{descriptor}"
    if not os.path.lexists(path):
        raise OSError(errno.ENOSYS, "a socket with a path takes /proc, which is not mounted")
    return path


def is_at(path: str, descriptor: int) -> bool:
    """Whether a path leads to the file of this descriptor, without a link at its end. OSError as of `find`."""
    with find(path) as place:
        return place.holds(descriptor)


def remove(path: str, descriptor: int) -> None:
    """Remove a path if it is the file of this descriptor still. OSError says why it cannot be.

    Who may change the directory can exchange the file at the last moment, but for nothing except what it could remove
    itself: the directory is the one that was looked at.
    """
    with find(path) as place:
        if place.holds(descriptor):
            os.unlink(place.name, dir_fd=place.directory)


def make_link(path: str, target: str) -> int:
    """Put a symbolic link at a path, in the place of a file that is there, and make its directory where it is missing.

    Returns a descriptor (O_PATH) of the link, for `remove`. ValueError as of `check_directory`; OSError where netd may
    not, also where another user could exchange the link.
    """
    with find(path, make=True) as place:
        if not place.kept:
            raise PermissionError(errno.EACCES, "another user may exchange it")
        new = f".{place.name}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=place.directory)  # of a process that had this number, and was killed
        os.symlink(target, new, dir_fd=place.directory)
        try:
            descriptor = os.open(new, _NODE, dir_fd=place.directory)
            os.replace(new, place.name, src_dir_fd=place.directory, dst_dir_fd=place.directory)
        except OSError:
            os.unlink(new, dir_fd=place.directory)
            raise
        return descriptor


def read_link(path: str) -> str | None:
    """Where the symbolic link at a path leads; None for anything else, and for a link that cannot be trusted.

    That is one in a directory that others than its owner may change, or one that was made by another user than root,
    the own user and the owner of the directory. OSError as of `find`.
    """
    with find(path) as place:
        held = place.hold()
        if held is None:
            return None
        try:
            around, link = os.fstat(place.directory), os.fstat(held)
            shared = around.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if shared or not stat.S_ISLNK(link.st_mode) or not (is_ours(link.st_uid) or link.st_uid == around.st_uid):
                return None
            return os.readlink("", dir_fd=held)
        finally:
            os.close(held)


def remove_bound(opened: socket.socket) -> None:
    """Remove the file that a socket was bound to just now, wherever that is, if the kernel tells (`bound_file`)."""
    with contextlib.suppress(OSError):
        descriptor = fcntl.ioctl(opened, _SIOCUNIXFILE)
        try:
            remove(os.readlink(by_descriptor(descriptor)), descriptor)
        finally:
            os.close(descriptor)


def check_directory(path: str) -> None:
    """Make the directory of a path where it is missing, and see that no other user can exchange it or what is in it.

    ValueError says who can, and the remedy; OSError why there is none. Each directory on the way is judged, before
    anything is made in it. Who is in a group that may write to one was let in.
    """
    with find(path, make=True):
        pass


class SocketFile:
    """The file that a UNIX socket of netd is bound to. While this is open, no other file can look the same."""

    def __init__(self, path: str, descriptor: int, *, sure: bool) -> None:
        self._path = path
        self._sure = sure
        self.descriptor = descriptor
        """Of the file itself (O_PATH)."""

    def change(self, owner: int, group: int, mode: int) -> None:
        """Set owner and group (-1 leaves them) and permissions, of this file and no other. OSError says why not.

        It is a PermissionError where the file may be the right one, and netd may not change it.
        """
        if not is_at(self._path, self.descriptor):
            raise OSError(errno.ESTALE, "another file has taken its place")
        status = os.fstat(self.descriptor)
        if owner in (-1, status.st_uid) and group in (-1, status.st_gid) and stat.S_IMODE(status.st_mode) == mode:
            return
        if not self._sure:
            raise PermissionError(errno.EPERM, "without CAP_NET_ADMIN, nothing shows that it is netd's socket still")
        # fchmod(2) takes no such descriptor, and a chmod with AT_EMPTY_PATH came with Linux 6.6 (fchmodat2(2)).
        here = by_descriptor(self.descriptor)
        if owner != -1 or group != -1:
            os.chown(here, owner, group)
        os.chmod(here, mode)

    def close(self, *, keep: bool) -> None:
        """Let go of the file, and unless it is to ``keep``, remove it where it is in its place still."""
        with contextlib.suppress(OSError):
            if self._sure and not keep:
                remove(self._path, self.descriptor)
        os.close(self.descriptor)


def bound_file(opened: socket.socket, path: str, *, new: bool) -> SocketFile | None:
    """The file of a socket that is bound to this path, or None if the path leads to another file, or to none.

    ``new`` says that it was bound just now, with a umask of 0777. OSError where no way leads there.

    The kernel knows the file (SIOCUNIXFILE), and tells it to who has CAP_NET_ADMIN. Without, a new one is known by what
    no other user can make: a socket of netd's user to which nobody has any right yet. One from an earlier start, which
    has its owner and mode, is known only where others cannot exchange it; elsewhere it is served, and not changed.
    """
    with find(path) as place:
        try:
            descriptor, known = fcntl.ioctl(opened, _SIOCUNIXFILE), True
        except OSError:
            held = place.hold()
            if held is None:
                return None
            status = os.fstat(held)
            fresh = new and status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode)
            descriptor, known = held, place.kept or fresh
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode) and place.holds(descriptor) and (known or not new):
            return SocketFile(path, descriptor, sure=known)
        os.close(descriptor)
        return None
