"""The interface to systemd: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).

Without systemd each function does nothing and returns nothing.
"""

import array
import contextlib
import os
import socket
import time

from netd.transport.activation import KEPT, InheritedSocket

_FIRST = 3  # SD_LISTEN_FDS_START
_DYNAMIC_USERS = range(61184, 65520)  # systemd.exec(5)


def notify(*state: str, descriptors: tuple[int, ...] = ()) -> None:
    """Notify the service manager, for example with ``READY=1``. Errors are ignored, also if there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)  # a service manager that does not read must not block the daemon
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendmsg(["\n".join(state).encode()], rights)


def notify_reloading() -> None:
    """Notify the start of a reload, which ``READY=1`` ends. The time stamp identifies this reload (systemd 253)."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def watchdog_interval() -> float | None:
    """Seconds within which the service manager expects ``WATCHDOG=1`` (WatchdogSec=). None: it expects none."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid())):
        return int(usec) / 1e6
    return None


def has_dynamic_user() -> bool:
    """Whether this process runs as a user that systemd has allocated for the time of the unit (DynamicUser=)."""
    return "NOTIFY_SOCKET" in os.environ and os.geteuid() in _DYNAMIC_USERS


def store_size() -> int:
    """How many sockets the service manager keeps for the next start (FileDescriptorStoreMax=); 0: none.

    systemd sets FDSTORE from version 254 on. For an older one the unit has to set it.
    """
    number = os.environ.get("FDSTORE", "")
    return int(number) if "NOTIFY_SOCKET" in os.environ and number.isdigit() else 0


def store(opened: socket.socket) -> str:
    """Store a socket with the service manager for the next start. Returns its name there."""
    # An inode number is unique while the socket is open.
    name = f"{KEPT}{os.fstat(opened.fileno()).st_ino}"
    # FDPOLL=0: systemd must not remove a listening UNIX socket because no client is connected.
    notify("FDSTORE=1", f"FDNAME={name}", "FDPOLL=0", descriptors=(opened.fileno(),))
    return name


def remove_stored(name: str) -> None:
    """Remove a socket from the store."""
    notify("FDSTOREREMOVE=1", f"FDNAME={name}")


def inherited() -> list[InheritedSocket]:
    """The sockets from the service manager. Removes the variables, so that child processes do not use them."""
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
        except OSError:  # not open, or not a socket (ListenFIFO=)
            continue
        found.append(InheritedSocket(names[index] if index < len(names) else "unknown", opened))
    return found
