"""Services of a daemon that start programs: their config, their processes, and clients of theirs."""

import json
import socket
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon
from tests.support.descriptors import open_files
from tests.support.waiting import until

IGNORE_TERM = "trap '' TERM; echo ready; while :; do sleep 0.1; done"  # a script of the shell


def config(command: list[str] | str, *, name: str = "run", daemon: str = "{workers: 1}", **service: Any) -> str:
    """A config with one service of type exec. A text is a script of the shell. ``options`` are those beside it."""
    words = ["/bin/sh", "-c", command] if isinstance(command, str) else command
    options = {"command": words, **service.pop("options", {})}
    service = {"type": "exec", "listen": ["tcp://127.0.0.1:0"], **service, "options": options}
    return f"daemon: {daemon}\nservices:\n  {name}: {json.dumps(service)}\n"


def connect(running: Daemon, name: str = "run") -> socket.socket:
    """A client of the service."""
    client = socket.create_connection(("127.0.0.1", running.port(name)), 20)
    client.settimeout(20)
    return client


def said(running: Daemon, sent: bytes = b"", name: str = "run") -> str:
    """What the program says to a client that sends this."""
    with connect(running, name) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        return client.makefile(errors="replace").read()


def listed(running: Daemon, *words: str) -> list[dict[str, Any]]:
    """The connections of the daemon."""
    found: list[dict[str, Any]] = running.ask("connections", *words)["connections"]
    return found


def counters(running: Daemon, name: str = "run") -> dict[str, Any]:
    """The counters of a service."""
    [found] = [one["counters"] for one in running.ask("status")["services"] if one["service"] == name]
    return dict(found)


def launcher(running: Daemon) -> int:
    """The process id of the launcher that started last."""
    return int([line["pid"] for line in running.lines if line["event"] == "launcher_started"][-1])


def children(pid: int) -> list[int]:
    """The child processes of a process, also those that have ended and were not waited for."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def descriptors(pid: int) -> int:
    """The number of descriptors that a process has open. Those of one socket count once.

    The worker holds duplicates of its channel as a reserve, but while it handles a message of the supervisor.
    """
    found = open_files(pid).values()
    sockets = {one for one in found if one.startswith("socket:")}
    return len(sockets) + sum(not one.startswith("socket:") for one in found)


def until_idle(running: Daemon) -> None:
    """Wait until no connection is listed."""
    until(lambda: not listed(running))
