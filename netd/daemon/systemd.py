"""What passes between netd and systemd: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).

Without systemd every function here does nothing, or finds nothing.
"""

import array
import contextlib
import os
import socket
import time

from netd.transport.activation import KEPT, InheritedSocket

_FIRST = 3  # SD_LISTEN_FDS_START


def notify(*state: str, descriptors: tuple[int, ...] = ()) -> None:
    """Tell the service manager, such as ``READY=1``; where there is none, or it does not listen, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)  # a manager may be behind with reading, but must not hold up the daemon
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendmsg(["\n".join(state).encode()], rights)


def notify_reloading() -> None:
    """A reload begins; ``READY=1`` is its end. The time stamp tells it from an earlier one (systemd 253)."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def watchdog_interval() -> float | None:
    """Seconds within which the service manager wants to hear ``WATCHDOG=1``, if it does (WatchdogSec=)."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid())):
        return int(usec) / 1e6
    return None


def stores() -> bool:
    """Whether the service manager keeps sockets for the next start (FileDescriptorStoreMax=).

    systemd says so from version 254 on; before, the unit has to.
    """
    number = os.environ.get("FDSTORE", "")
    return "NOTIFY_SOCKET" in os.environ and number.isdigit() and int(number) > 0


def store(opened: socket.socket) -> str:
    """Have a socket kept for the next start; the name it is kept under."""
    # A socket's inode is no other's for as long as it is open.
    name = f"{KEPT}{os.fstat(opened.fileno()).st_ino}"
    # Not to be polled: a listening UNIX socket is not over because nobody is connected.
    notify("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", descriptors=(opened.fileno(),))
    return name


def forget(name: str) -> None:
    """Have a socket kept no longer."""
    notify("FDSTOREREMOVE=1", f"FDNAME={name}")


def inherited() -> list[InheritedSocket]:
    """The sockets that came with this process. Takes them out of the environment, so that no child finds them."""
    number, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if not number.isdigit() or pid != str(os.getpid()):
        return []
    found = []
    for index in range(int(number)):
        descriptor = _FIRST + index
        try:
            os.set_inheritable(descriptor, False)
            opened = socket.socket(fileno=descriptor)
        except OSError:  # not there, or not a socket: ListenFIFO= and the like
            continue
        found.append(InheritedSocket(names[index] if index < len(names) else "unknown", opened))
    return found
