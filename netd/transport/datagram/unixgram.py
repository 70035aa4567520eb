"""Where an answer to a UNIX datagram goes: to the very socket of its sender, wherever the sender's path leads by now.

The kernel knows a sender by the path it bound, and looks that path up anew for each answer. Meanwhile the sender may
have put a link to another socket there: one of netd's own, which then answers itself for ever, or one to which netd may
write and the sender may not, as the journal's.

An abstract name leads to the socket of that name in netd's own network namespace, and the kernel does not tell whether
the sender has another one (network_namespaces(7)): from there an answer may reach a socket of the same name here.
"""

import errno
import os
import socket
import stat
from typing import Any, NamedTuple

from netd.peer import Credentials
from netd.reasons import Drop
from netd.transport.sockaddr import OVERFLOW_USER, message_credentials


def _knows_every_user() -> bool:
    """Whether each user is one here: in a user namespace all those without a number have one together."""
    try:
        with open("/proc/self/uid_map") as users:
            return users.read().split() == ["0", "0", str(2**32 - 1)]
    except OSError:
        return True


_KNOWS_EVERY_USER = _knows_every_user()


class UnixSender(NamedTuple):
    """The sender of a UNIX datagram."""

    path: str | bytes
    """A path, an abstract name, or empty where the sender has bound none."""
    credentials: Credentials | None
    """As the kernel vouches for them (SCM_CREDENTIALS, unix(7))."""


class NoSocketError(OSError):
    """There is no socket of a sender's to send to. ``reason`` says why."""

    def __init__(self, reason: Drop) -> None:
        super().__init__(errno.EPERM, os.strerror(errno.EPERM))
        self.reason: Drop = reason


class AnsweringSocket:
    """A UNIX datagram socket that sends to the senders' own sockets alone, and otherwise is the one it stands before.

    An answer takes the control messages of its question: they say which user sent it, and are not sent themselves.
    The user is the real one (unix(7)): what a set-user-ID program binds belongs to another one, and gets no answer.
    """

    __slots__ = ("recvmsg", "socket")

    def __init__(self, inner: socket.socket) -> None:
        self.socket = inner
        self.recvmsg = inner.recvmsg

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)

    def sendmsg(self, parts: list[bytes], question: Any, flags: int, address: str | bytes | None) -> int:
        """Send to the sender at ``address``. `NoSocketError`, or another OSError, where that cannot be."""
        if not address:
            raise NoSocketError("no_address")
        if isinstance(address, bytes):  # an abstract name is no file: it leads to the socket that is bound to it
            return self.socket.sendmsg(parts, [], flags, address)
        credentials = message_credentials(question)
        # A relative path is one in the sender's working directory, which is not netd's.
        nobody = credentials is None or (credentials.uid == OVERFLOW_USER and not _KNOWS_EVERY_USER)
        if nobody or not address.startswith("/"):
            raise NoSocketError("source_path")
        # Of the path, the last component alone is not followed: /var/run may well be a link, and what another user's
        # folder leads to is told by its owner.
        found = os.open(address, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(found)
            if not stat.S_ISSOCK(status.st_mode) or not credentials or status.st_uid != credentials.uid:
                raise NoSocketError("source_path")
            try:
                return self.socket.sendmsg(parts, [], flags, f"/proc/self/fd/{found}")
            except FileNotFoundError:
                # In a chroot without /proc the path is looked up a second time. Who is quick enough to exchange it in
                # between can have one answer go astray, no more than that.
                return self.socket.sendmsg(parts, [], flags, address)
        finally:
            os.close(found)
