"""Safe access to files in directories that other users can write to: open, change, remove.

netd may run as root, and the path of a socket, a log or a pid file may be in a directory of another user, which can
replace the file at any time, also between two system calls. So a path is resolved once, its directory is kept open, and
a file is changed through a descriptor of that very file. A symbolic link, within the path or at its end, is followed
only if root or netd's user owns it, and only these can have put it there: in a directory that other users can write to,
a link of root's for another purpose can be moved in, or get a second name. fs.protected_symlinks and
fs.protected_hardlinks (proc(5)) are similar, but cover some directories only, and can be switched off.
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
class DirectoryEntry:
    """A name in a directory that is kept open, so that it stays the same directory if its path changes."""

    directory: int
    """A descriptor (O_PATH)."""
    name: str
    protected: bool
    """Whether only root and netd's user can replace the file, or a directory of the path."""
    magic: bool = False
    """Whether it is a magic link of /proc (symlink(7)), which only the kernel can follow: it may lead to no path."""

    def __enter__(self) -> "DirectoryEntry":
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.directory)

    def is_file(self, descriptor: int) -> bool:
        """Whether the entry is the file of this descriptor."""
        try:
            here = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(descriptor), here)

    def open_path(self) -> int | None:
        """A descriptor (O_PATH) of the file, or of the link itself; None if there is none."""
        try:
            return os.open(self.name, _NODE, dir_fd=self.directory)
        except FileNotFoundError:
            return None

    def open(self, flags: int, mode: int) -> int:
        """Open the file, or create it with O_CREAT. Raises OSError also if another user can have put it here."""
        flags |= os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # it may be a FIFO or a terminal
        descriptor = os.open(self.name, flags if self.magic else flags | os.O_NOFOLLOW, mode, dir_fd=self.directory)
        try:
            self._check(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _check(self, descriptor: int) -> None:
        if self.protected:
            return
        file = os.fstat(descriptor)
        if stat.S_ISREG(file.st_mode) and not self._is_only_name(descriptor):
            raise OSError(errno.EMLINK, "it is a hard link in a directory that another user can write to")
        around = os.fstat(self.directory)
        # As fs.protected_regular and fs.protected_fifos do. Without a sticky bit, write access was granted on purpose.
        if around.st_mode & stat.S_ISVTX and not (is_ours(file.st_uid) or file.st_uid == around.st_uid):
            raise PermissionError(errno.EACCES, f"it was created by another user (uid {file.st_uid})")

    def _is_only_name(self, descriptor: int) -> bool:
        """Whether the file has this name and no other. One that was removed from here may have another name."""
        try:
            here = os.stat(self.name, dir_fd=self.directory, follow_symlinks=self.magic)
        except FileNotFoundError:
            return False
        file = os.fstat(descriptor)
        return os.path.samestat(file, here) and max(here.st_nlink, file.st_nlink) <= 1


def is_ours(user: int) -> bool:
    """Whether a user is root or the one that netd runs as."""
    return user in (0, os.geteuid()) or (user == os.lstat("/").st_uid and not _root_is_mapped())


def _root_is_mapped() -> bool:
    """Whether root is mapped in this user namespace; if not, it appears as the owner of "/" (user_namespaces(7))."""
    try:
        with open("/proc/self/uid_map") as lines:
            return any(line.split()[0] == "0" for line in lines)
    except FileNotFoundError:  # /proc is not mounted, or the kernel has no such namespaces
        return True


def find(path: str, *, follow: bool = False, make: bool = False) -> DirectoryEntry:
    """Resolve a path to a directory entry, which need not exist; the caller closes it. Raises OSError.

    With ``follow``, a link as the last component is followed. With ``make``, missing directories are created, and
    ValueError is raised as by `check_directory`.
    """
    directory = os.open("/" if path.startswith("/") else ".", _NODE)
    steps = _steps(path)
    at = "/" if path.startswith("/") else "."
    protected, links = True, 0
    try:
        while True:
            if make:
                _refuse_exposed(at, os.fstat(directory))
            name = steps.pop() if steps else "."
            node = _look(name, directory, must=bool(steps), make=make)
            status = os.fstat(node) if node is not None else None
            keeps = _keeps(os.fstat(directory), status)
            protected = protected and keeps
            try:
                link = status is not None and stat.S_ISLNK(status.st_mode)
                if node is None or status is None or not (steps or (link and follow)):
                    return DirectoryEntry(directory, name, protected)
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
                    raise OSError(
                        errno.ELOOP, f"{name} is a symbolic link in a directory that another user can write to"
                    )
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if of_proc:
                    if not steps:
                        return DirectoryEntry(directory, name, protected, magic=True)
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
    """The components of a path, the last one first."""
    return [step for step in reversed(path.split("/")) if step not in ("", ".")]


def _look(name: str, directory: int, *, must: bool, make: bool) -> int | None:
    """A descriptor (O_PATH) of an entry, or of the link itself; None if it does not exist and need not (``must``)."""
    try:
        return os.open(name, _NODE, dir_fd=directory)
    except FileNotFoundError:
        if not must:
            return None
        if not make:
            raise
    umask = os.umask(0o022)  # other users may enter; the files in it have their own permissions
    try:
        os.mkdir(name, 0o755, dir_fd=directory)
    finally:
        os.umask(umask)
    return os.open(name, _NODE, dir_fd=directory)


def _keeps(directory: os.stat_result, entry: os.stat_result | None) -> bool:
    """Whether only root and netd's user can have put this entry into the directory, and can replace it."""
    if not is_ours(directory.st_uid):
        return False
    if not directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return True
    # A user can move another file of root's here from a directory it can write to, or link it here; but not a
    # directory, for which rename(2) takes write permission on that directory itself.
    sticky = bool(directory.st_mode & stat.S_ISVTX)
    return sticky and entry is not None and stat.S_ISDIR(entry.st_mode) and is_ours(entry.st_uid)


def _refuse_exposed(path: str, directory: os.stat_result) -> None:
    if not is_ours(directory.st_uid):
        raise ValueError(f"{path} belongs to another user (uid {directory.st_uid}); chown root {path}")
    if directory.st_mode & stat.S_IWOTH and not directory.st_mode & stat.S_ISVTX:
        raise ValueError(f"{path} is world-writable; chmod o-w {path}")


def _is_of_proc(status: os.stat_result) -> bool:
    try:
        return status.st_dev == os.lstat("/proc/self").st_dev
    except OSError:  # not mounted
        return False


def open_file(path: str, flags: int, mode: int, *, follow: bool = False) -> int:
    """Open a file as open(2) does, but refuse one that another user can have put there for netd to write to.

    With ``follow``, a link of root or of netd's user is followed. Raises OSError.
    """
    with find(path, follow=follow) as entry:
        return entry.open(flags, mode)


def open_path(path: str) -> int | None:
    """A descriptor (O_PATH) of a file, or of the link itself; None if there is none. Raises OSError as `find` does."""
    with find(path) as entry:
        return entry.open_path()


def proc_path(descriptor: int) -> str:
    """The path in /proc of a descriptor, which always leads to its file. Raises OSError without /proc."""
    path = f"/proc/self/fd/{descriptor}"
    if not os.path.lexists(path):
        raise OSError(errno.ENOSYS, "a UNIX socket with a path needs /proc, which is not mounted")
    return path


def is_at(path: str, descriptor: int) -> bool:
    """Whether a path is that of the descriptor's file; a link to it is not. Raises OSError as `find` does."""
    with find(path) as entry:
        return entry.is_file(descriptor)


def remove(path: str, descriptor: int) -> None:
    """Remove a path if it still is the file of this descriptor. Raises OSError.

    A user with write access to the directory can replace the file just before, but only by one that it could remove
    itself, since the directory is the one that was checked.
    """
    with find(path) as entry:
        if entry.is_file(descriptor):
            os.unlink(entry.name, dir_fd=entry.directory)


def make_link(path: str, target: str) -> int:
    """Create a symbolic link, or replace the file at its path, and create its directory if it is missing.

    Returns a descriptor (O_PATH) of the link, for `remove`. Raises ValueError as `check_directory` does, and OSError,
    also if another user could replace the link.
    """
    with find(path, make=True) as entry:
        if not entry.protected:
            raise PermissionError(errno.EACCES, "another user can replace it")
        new = f".{entry.name}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=entry.directory)  # left by a process with the same id that was killed
        os.symlink(target, new, dir_fd=entry.directory)
        descriptor = -1
        try:
            descriptor = os.open(new, _NODE, dir_fd=entry.directory)
            os.replace(new, entry.name, src_dir_fd=entry.directory, dst_dir_fd=entry.directory)
        except OSError:
            if descriptor >= 0:
                os.close(descriptor)
            os.unlink(new, dir_fd=entry.directory)
            raise
        return descriptor


def read_link(path: str) -> str | None:
    """The target of a symbolic link; None if the path is no link, or one that cannot be trusted.

    A link can be trusted if only the owner of its directory can write to that, and if it belongs to root, netd's user
    or the owner of the directory. Raises OSError as `find` does.
    """
    with find(path) as entry:
        held = entry.open_path()
        if held is None:
            return None
        try:
            around, link = os.fstat(entry.directory), os.fstat(held)
            shared = around.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if shared or not stat.S_ISLNK(link.st_mode) or not (is_ours(link.st_uid) or link.st_uid == around.st_uid):
                return None
            return os.readlink("", dir_fd=held)
        finally:
            os.close(held)


def remove_bound(opened: socket.socket) -> None:
    """Remove the file that a socket was bound to just now, at any path, if the kernel gives it (`bound_file`)."""
    with contextlib.suppress(OSError):
        descriptor = fcntl.ioctl(opened, _SIOCUNIXFILE)
        try:
            remove(os.readlink(proc_path(descriptor)), descriptor)
        finally:
            os.close(descriptor)


def check_directory(path: str) -> None:
    """Create the directory of a path if it is missing, and check that no other user can replace it or a file in it.

    Raises ValueError, with the remedy, if another user can, and OSError. Each directory of the path is checked before
    anything is created in it. Write access of a group is accepted, since it was granted on purpose.
    """
    with find(path, make=True):
        pass


class SocketFile:
    """The file that a UNIX socket of netd is bound to. While it is open, its inode number is not used again."""

    def __init__(self, path: str, descriptor: int, *, verified: bool) -> None:
        self._path = path
        self._verified = verified
        self.descriptor = descriptor
        """A descriptor (O_PATH) of the file itself."""

    def check(self) -> None:
        """Raise OSError if another file has taken its place."""
        if not is_at(self._path, self.descriptor):
            raise OSError(errno.ESTALE, "another file has taken its place")

    def change(self, owner: int, group: int, mode: int) -> None:
        """Set the owner and group (-1: unchanged) and the permissions of this file, and of no other. Raises OSError.

        Raises PermissionError if the file may be the right one, but netd cannot verify that.
        """
        self.check()
        status = os.fstat(self.descriptor)
        if owner in (-1, status.st_uid) and group in (-1, status.st_gid) and stat.S_IMODE(status.st_mode) == mode:
            return
        if not self._verified:
            raise PermissionError(errno.EPERM, "without CAP_NET_ADMIN, netd cannot verify that this is its own socket")
        # fchmod(2) does not accept an O_PATH descriptor; AT_EMPTY_PATH for chmod needs Linux 6.6 (fchmodat2(2)).
        here = proc_path(self.descriptor)
        # A file that has the group already is not given away, which a system call filter may forbid.
        given_away = owner not in (-1, status.st_uid) or group not in (-1, status.st_gid)
        # The permissions of the file of another user take CAP_FOWNER, which netd may not have: while it is netd's own.
        is_own = status.st_uid == os.geteuid()
        if is_own:
            os.chmod(here, mode)
        if given_away:
            os.chown(here, owner, group)
        if not is_own:
            os.chmod(here, mode)

    def close(self, *, keep: bool) -> None:
        """Close the file and, unless ``keep``, remove it if it still is at its path."""
        with contextlib.suppress(OSError):
            if self._verified and not keep:
                remove(self._path, self.descriptor)
        os.close(self.descriptor)


def bound_file(opened: socket.socket, path: str, *, new: bool) -> SocketFile | None:
    """The file of a socket that is bound to this path, or None if the path leads to another file, or to none.

    ``new``: it was bound just now, with a umask of 0777. Raises OSError if the path cannot be resolved.

    With CAP_NET_ADMIN, the kernel gives the file (SIOCUNIXFILE). Without, a new one is verified by what no other user
    can create: a socket of netd's user without any permission. One from an earlier start has its owner and mode
    already, so it is verified only if no other user can replace it; else netd listens on it, but does not change it.
    """
    with find(path) as entry:
        try:
            descriptor, verified = fcntl.ioctl(opened, _SIOCUNIXFILE), True
        except OSError:
            held = entry.open_path()
            if held is None:
                return None
            status = os.fstat(held)
            fresh = new and status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode)
            descriptor, verified = held, entry.protected or fresh
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode) and entry.is_file(descriptor) and (verified or not new):
            return SocketFile(path, descriptor, verified=verified)
        os.close(descriptor)
        return None
