"""Programs for tests of the launcher, and what one prints."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from netd.daemon.launcher import spawn
from netd.daemon.messages.to_launcher import Program

NULL = Program(
    number=1,
    service="test",
    command=["/bin/true"],
    argv0="true",
    environment={"PATH": "/usr/bin"},
    directory="/",
    umask=0o22,
    nice=0,
    limits={},
    gives="connection",
    errors="null",
    described=False,
    connections=None,
    lifetime=None,
    stop_signal=15,
    stop_after=5.0,
)


def program(*command: object, **changed: Any) -> Program:
    """A program with this command."""
    words = [str(word) for word in command]
    return replace(NULL, **{"command": words, "argv0": os.path.basename(words[0]), **changed})


def shell(script: str, **changed: Any) -> Program:
    """A program that is a script of the shell."""
    return program("/bin/sh", "-c", script, **changed)


def output(started: Program, facts: Mapping[str, str] | None = None, listener: int | None = None) -> tuple[str, int]:
    """What a program prints to its standard output and error, and its exit code or the negative signal."""
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        pid = spawn.start(started, facts or {}, (null, writing, writing), listener)
    finally:
        os.close(writing)
        os.close(null)
        with open(reading, "rb") as pipe:
            said = pipe.read().decode(errors="replace")
    return said, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def printed(started: Program, **more: Any) -> str:
    """What a program prints, which succeeds."""
    said, code = output(started, **more)
    assert code == 0, (said, code)
    return said.strip()


def script(place: Path, text: str, mode: int = 0o755) -> Path:
    """A file with a script."""
    file = place / "program"
    file.write_text(text)
    file.chmod(mode)
    return file
