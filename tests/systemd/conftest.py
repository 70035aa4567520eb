"""A real systemd with netd installed in it: 252 over this host's tree, 257 (Python 3.13) over a Debian 13 tree."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
LAB = Path(__file__).parent / "lab"
CACHE = Path(os.environ.get("LAB_CACHE", "/var/tmp/lab"))
HOST_PYTHON = "import sys; print('%d.%d' % sys.version_info[:2])"

LAUNCHER = """#!/usr/bin/python3 -P
import sys
sys.path.insert(0, "/usr/local/lib/netd")
from netd.cli.main import main
main()
"""


class Lab:
    """One systemd, and netd in it."""

    def __init__(self, suite: str, **settings: str) -> None:
        """The settings are variables of the script `lab`."""
        self.suite = suite
        self._environment = {
            **os.environ,
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LAB_SUITE": suite,
            "LAB_NAME": f"netd-{suite}-{os.getpid()}",  # two checkouts may be tested at the same time
            "LAB_CACHE": str(CACHE),
            "LAB_TTL_S": "1800",
            "LAB_BOOT_S": "180",
            **settings,
        }
        self.cursor = ""
        self.root = Path("/")

    def call(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(LAB), *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env=self._environment,
        )

    def start(self) -> None:
        for step in ("stop", "start"):
            done = self.call(step)
            assert done.returncode == 0, done.stderr
        self.root = Path(self.call("root").stdout.strip())

    def run(self, *command: str, code: int | None = 0, text: str | None = None) -> str:
        """Run a command in the lab. Returns its output."""
        done = self.call("exec", *command, text=text)
        assert code is None or done.returncode == code, (command, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def python(self, script: str) -> str:
        """Run a Python script in the lab. Returns its output."""
        return self.run("/usr/bin/python3", "-", text=script).strip()

    def netd(self, *arguments: str, code: int | None = 0) -> str:
        return self.run("/usr/local/bin/netd", *arguments, code=code)

    def show(self, key: str, unit: str = "netd.service") -> str:
        return self.run("systemctl", "show", "-P", key, unit).strip()

    def write(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def config(self, text: str, name: str = "netd") -> None:
        self.write(f"/etc/netd/{name}.yaml", text)

    def drop_in(self, text: str) -> None:
        self.write("/etc/systemd/system/netd.service.d/test.conf", text)
        self.run("systemctl", "daemon-reload")

    def log(self) -> list[dict[str, Any]]:
        """The events that netd has logged since the test began, with the fields of the journal under ``journal``."""
        found = []
        self.run("journalctl", "--sync")  # what netd has written may still wait for the journal to read it
        # Not by _COMM: the journal does not have it for a process that exits before its last lines are read.
        text = self.run(
            "journalctl", "-o", "json", "--no-pager", f"--after-cursor={self.cursor}", "SYSLOG_IDENTIFIER=netd"
        )
        for line in text.splitlines():
            entry = json.loads(line)
            if "NETD_EVENT" in entry:
                fields = {key[5:].lower(): _value(value) for key, value in entry.items() if key.startswith("NETD_")}
                found.append({**fields, "journal": entry})
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == name]

    def wait_for(self, name: str, number: int = 1) -> dict[str, Any]:
        until(lambda: len(self.events(name)) >= number, 30)
        return self.events(name)[number - 1]

    def reset(self) -> None:
        """Restore the state before the first start."""
        self.run("systemctl", "stop", "netd.socket", "netd.service", "netd@lab.service", code=None)
        shutil.rmtree(self.root / "etc/systemd/system/netd.service.d", ignore_errors=True)
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "reset-failed", code=None)
        text = self.run("journalctl", "--sync") + self.run("journalctl", "-n", "1", "-q", "--show-cursor")
        self.cursor = text.rpartition("-- cursor: ")[2].strip()


def _value(text: str) -> Any:
    """The value of a field that the journal has as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _libraries(version: str) -> Path:
    """A directory with the dependencies of netd, for a Python without pip."""
    setup = (ROOT / "setup.cfg").read_text()
    wanted = [
        line.strip() for line in setup.partition("install_requires =")[2].partition("\n\n")[0].split("\n") if line
    ]
    name = hashlib.sha256(f"{version} {wanted}".encode()).hexdigest()[:12]
    place = CACHE / f"netd-libraries-{name}"
    if not place.exists():
        made = CACHE / f"{place.name}.{os.getpid()}"
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--target", str(made), "--python-version", version, "--only-binary=:all:", *wanted),
            ],
            check=True,
        )
        try:
            made.rename(place)
        except OSError:  # another process of the tests has made it meanwhile
            assert place.exists()
            shutil.rmtree(made)
    return place


def _missing(suite: str) -> str:
    """The reason why this lab cannot run here, or an empty string."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/sys/fs/cgroup").exists() or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        return "needs namespaces and cgroup2"
    if not Path("/usr/bin/python3").exists() or not Path("/usr/lib/systemd/systemd").exists():
        return "needs Debian's systemd and python3"
    if suite != "host" and not (CACHE / suite).exists() and not shutil.which("mmdebstrap"):
        return "needs mmdebstrap"
    return ""


def need_lab(suite: str) -> None:
    """Skip the test where this lab cannot run; fail if NETD_REQUIRE_TOOLS is set."""
    if reason := _missing(suite):
        (pytest.fail if os.environ.get("NETD_REQUIRE_TOOLS") else pytest.skip)(f"a real systemd {reason}")


@pytest.fixture(scope="session", params=["host", "trixie"])
def booted(request: pytest.FixtureRequest) -> Iterator[Lab]:
    need_lab(request.param)
    lab = Lab(request.param)
    lab.start()
    try:
        version = subprocess.run(["/usr/bin/python3", "-c", HOST_PYTHON], capture_output=True, text=True, check=True)
        place = lab.root / "usr/local/lib/netd"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(_libraries(version.stdout.strip() if lab.suite == "host" else "3.13"), place)
        shutil.copytree(ROOT / "netd", place / "netd")
        lab.write("/usr/local/bin/netd", LAUNCHER)
        (lab.root / "usr/local/bin/netd").chmod(0o755)
        for unit in ("netd.service", "netd@.service"):
            text = (ROOT / "systemd" / f"{unit}.in").read_text()
            lab.write(
                f"/etc/systemd/system/{unit}", text.replace("@PREFIX@", "/usr/local").replace("@SYSCONFDIR@", "/etc")
            )
        lab.write("/etc/systemd/system/netd.socket", (ROOT / "systemd" / "netd.socket").read_text())
        yield lab
    finally:
        lab.call("stop")


@pytest.fixture
def lab(booted: Lab) -> Lab:
    """The lab with netd stopped."""
    booted.reset()
    return booted
