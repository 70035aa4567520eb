"""What systemd wants to hear of a service of Type=notify (sd_notify(3))."""

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Tell the service manager, such as ``READY=1``; where there is none, or it does not listen, nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)  # a manager may be behind with reading, but must not hold up the daemon
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall(state.encode())
