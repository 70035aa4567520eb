"""Built-in services at a fixed time, and service types from other packages."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netd.peer import Peer
from netd.services import table
from netd.testing import NOW, PEER, build, context, script


def service(name: str, line_limit: int = 4096, clock: Callable[[], float] = lambda: NOW, **options: object) -> Any:
    """A built-in service at a fixed time, with random numbers that are the same each time."""
    return build(table.BUILT_IN[name], context(clock=clock, line_limit=line_limit), **options)


def answered(service: Any, *segments: bytes, peer: Peer = PEER) -> bytes:
    """The output of a service for these segments and the end of file, for a test that cannot state it in steps."""
    begun = script(service, peer)
    sent = begun.output()
    for segment in filter(None, segments):
        if not begun.ended:
            sent += begun.receives(segment).output()
    if not begun.ended:
        sent += begun.receives_eof().output()
    begun.ends()
    return sent


def install_service(directory: Path, name: str, source: str) -> str:
    """Install the class ``Service`` of this source as the service type ``name``. Returns the $PYTHONPATH for it."""
    (directory / f"netd_{name}.py").write_text(source)
    info = directory / f"netd_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: netd-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[netd.services]\n{name} = netd_{name}:Service\n")
    return f"{directory}{os.pathsep}{os.getcwd()}"
