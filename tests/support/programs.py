"""External programs, and the permissions that a test needs."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def need(*programs: str) -> None:
    """Skip the test without these programs; fail if NETD_REQUIRE_TOOLS is set, as in CI."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing and os.environ.get("NETD_REQUIRE_TOOLS"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


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
