"""What installations are made from: wheels, and the Debian package. Processes that share the tests make each once."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.source_tree import ROOT
from tests.support.programs import need

IMAGE_CONFIG = """
daemon: {drain: 5s}
services:
  echo: {listen: [tcp://*:7007]}
  orphan:
    type: exec
    listen: [tcp://*:7008]
    options: {command: [/bin/sh, -c, "exec </dev/null 2>&0; sleep 1000 >&0 & echo started"]}
"""
"""What an image serves in its tests: an echo, and a program that leaves an orphan to process 1."""


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A directory with what ``make`` puts there. Other processes of the same run of the tests take it too."""
    above = factory.getbasetemp()
    above = above.parent if "PYTEST_XDIST_WORKER" in os.environ else above
    with open(above / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        place = above / name
        if not place.exists():
            made = above / f"{name}.new"
            made.mkdir()
            make(made)
            made.rename(place)
    return place


def pip(place: Path) -> Path:
    """A command of pip, with the Python of the tests."""
    command = place / "pip"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -m pip --disable-pip-version-check "$@"\n')
    command.chmod(0o700)
    return command


def wheels_for(factory: pytest.TempPathFactory, *version: str) -> Path:
    """A directory with the wheels for a version of Python, such as 3.13; without one, for the Python of the tests."""

    def make(place: Path) -> None:
        (beside := place.parent / f"{place.name}-pip").mkdir()
        subprocess.run([ROOT / "packaging" / "wheels", place, pip(beside), *version], check=True)

    return once(factory, "-".join(("wheels", *version)), make)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels_for(tmp_path_factory)


@pytest.fixture(scope="session")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package for the Debian of this host, with the Python that Debian has, which need not be that of the tests."""
    need("dpkg-buildpackage", "dh")

    def make(place: Path) -> None:
        done = subprocess.run(
            [ROOT / "packaging" / "deb", place],
            capture_output=True,
            text=True,
            check=False,
            # Compression takes most of the time.
            env={
                **os.environ,
                "PYTHON": sys.executable,
                "DPKG_DEB_COMPRESSOR_TYPE": "gzip",
                "DPKG_DEB_COMPRESSOR_LEVEL": "1",
            },
        )
        assert done.returncode == 0, done.stderr

    [made] = once(tmp_path_factory, "deb", make).glob("*.deb")
    return made
