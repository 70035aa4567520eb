"""External programs, and the permissions that a test needs."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.source_tree import ROOT

PLACES = ("/usr/sbin", "/usr/lib/nagios/plugins", "/usr/lib64/nagios/plugins")
"""Where programs are too that are not in the PATH of every user."""
LIST = ROOT / ".ci" / "programs"
"""A program a line: the Debian package, a command or file of it, and what requires it: `check` or `release`."""


def place_of(program: str) -> str | None:
    """The path of an installed program, which may be a file of it that is no command."""
    if os.path.isabs(program):
        return program if os.path.exists(program) else None
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *PLACES]))


def only_for_a_release() -> set[str]:
    """The programs without which `make check` passes."""
    lines = [line.split() for line in LIST.read_text().splitlines() if not line.startswith("#")]
    return {program for _, program, needed in lines if needed == "release"}


def need(*programs: str) -> str:
    """The path of the first of these programs. Without them, skip the test, or fail if NETD_REQUIRE_TOOLS is set.

    Set to ``all``, as for a release, it requires all programs; else, as in CI, those that `make check` needs.
    """
    missing = {program for program in programs if not place_of(program)}
    required = os.environ.get("NETD_REQUIRE_TOOLS")
    if required and (missing if required == "all" else missing - only_for_a_release()):
        pytest.fail(f"not installed: {', '.join(sorted(missing))}")
    if missing:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    return str(place_of(programs[0]))


def need_root() -> None:
    """Skip the test without root; fail if NETD_REQUIRE_TOOLS is set."""
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("NETD_REQUIRE_TOOLS") else pytest.skip)("needs root")


@contextlib.contextmanager
def started(*command: object, **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """A process that is killed at the end. The options are those of Popen."""
    with subprocess.Popen([str(word) for word in command], **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def program(*command: object) -> Iterator["subprocess.Popen[bytes]"]:
    """A process with pipes, as `type_until` needs it; it is killed at the end."""
    pipe = subprocess.PIPE
    with started(*command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process


def type_until(process: "subprocess.Popen[bytes]", typed: str, wanted: str) -> None:
    """Send input to a program and read until its whole output matches ``wanted``."""
    assert process.stdin
    assert process.stdout
    process.stdin.write(typed.encode())
    process.stdin.flush()
    shown = b""
    while not re.fullmatch(wanted, shown.decode()):
        piece = process.stdout.read1(4096)  # type: ignore[attr-defined]
        assert piece, f"the output ended after {shown!r}, without {wanted}"
        shown += piece


def faults_of_units(*files: Path) -> str:
    """The output of ``systemd-analyze verify`` for units in one directory.

    It also checks the units that these depend on. Here these are targets in the same directory, and none of this host.
    """
    need("systemd-analyze")
    for target in ("basic", "network", "shutdown", "sysinit"):
        (files[0].parent / f"{target}.target").write_text("[Unit]\nDescription=Of systemd.special(7)\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", *files],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": str(files[0].parent)},
    )
    return done.stdout + done.stderr
