"""The destination of an answer over UNIX: only a socket of the user that sent the question.

The kernel gives the path that the sender bound, and resolves it anew for each answer. Meanwhile the sender may have put
a link to another socket there: one of netd, which then answers itself forever, or one that netd may write to and the
sender may not, such as that of the journal.

An abstract name is resolved in the network namespace of netd, and the kernel does not report that of the sender
(network_namespaces(7)): an answer to a sender in another one may reach a socket of the same name here.
"""

import errno
import os
import socket
import stat
from typing import Any, NamedTuple

from netd.peer import Credentials
from netd.reasons import Drop
from netd.transport.sockaddr import OVERFLOW_USER, message_credentials


def _maps_every_user() -> bool:
    """Whether every user has an ID of its own here: in a user namespace, all that are not mapped share one."""
    try:
        with open("/proc/self/uid_map") as users:
            return users.read().split() == ["0", "0", str(2**32 - 1)]
    except OSError:
        return True


_MAPS_EVERY_USER = _maps_every_user()


class UnixSender(NamedTuple):
    """The sender of a UNIX datagram."""

    path: str | bytes
    """A path, an abstract name, or empty if the sender has bound neither."""
    credentials: Credentials | None
    """From the kernel (SCM_CREDENTIALS, unix(7)); None: unknown."""


class NoSocketError(OSError):
    """The sender has no socket that an answer may be sent to; ``reason`` is why."""

    def __init__(self, reason: Drop) -> None:
        super().__init__(errno.EPERM, os.strerror(errno.EPERM))
        self.reason: Drop = reason


class AnsweringSocket:
    """A UNIX datagram socket that sends only to sockets of the user that sent the question.

    `sendmsg` gets the control messages of the question for their credentials, and does not send them. They hold the
    real user ID (unix(7)): a socket that a set-user-ID program binds has another owner, and gets no answer.
    """

    __slots__ = ("recvmsg", "socket")

    def __init__(self, inner: socket.socket) -> None:
        self.socket = inner
        self.recvmsg = inner.recvmsg

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)

    def sendmsg(self, parts: list[bytes], question: Any, flags: int, address: str | bytes | None) -> int:
        """Send to the sender at ``address``. Raises `NoSocketError`, or another OSError, if that is not possible."""
        if not address:
            raise NoSocketError("no_address")
        if isinstance(address, bytes):  # an abstract name is no file, and cannot be a link
            return self.socket.sendmsg(parts, [], flags, address)
        credentials = message_credentials(question)
        # A relative path is relative to the working directory of the sender, not of netd.
        is_unknown = credentials is None or (credentials.uid == OVERFLOW_USER and not _MAPS_EVERY_USER)
        if is_unknown or not address.startswith("/"):
            raise NoSocketError("source_path")
        # Links are followed but for the last component: /var/run may well be one, and a link of another user is found
        # by the owner of the socket it leads to.
        found = os.open(address, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(found)
            if not stat.S_ISSOCK(status.st_mode) or not credentials or status.st_uid != credentials.uid:
                raise NoSocketError("source_path")
            try:
                return self.socket.sendmsg(parts, [], flags, f"/proc/self/fd/{found}")
            except FileNotFoundError:
                # In a chroot without /proc the path is resolved a second time. A sender that replaces it in between can
                # redirect one answer, no more.
                return self.socket.sendmsg(parts, [], flags, address)
        finally:
            os.close(found)
