"""Description of the machine, the kernel, and the versions of all programs."""

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from bench.peers import BUILD, PEERS, program

# Options with which a program prints its version.
_VERSIONS = {"xinetd": ["-version"], "socat": ["-V"], "systemd": ["--version"]}


def describe() -> dict[str, str]:
    """The entries of the report's last table, by name."""
    found = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
        "Python": sys.version.split()[0],
        "compiler": _first_line(["cc", "--version"]),
        "netd": _netd(),
    }
    python = BUILD / "env" / "bin" / "python"
    for peer in PEERS:
        if peer.missing():
            continue
        if peer.module:
            script = f"from importlib import metadata; print(metadata.version({peer.module!r}))"
            found[peer.name] = _first_line([str(python), "-c", script])
        elif peer.program:
            found[peer.name] = _version_of(peer.program)
    return found


def _processor() -> str:
    found = re.search(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _netd() -> str:
    commit = _first_line(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"])
    return f"{metadata.version('netd')} {commit}".strip()


def _version_of(name: str) -> str:
    path = program(name)
    package = _first_line(["dpkg-query", "-S", path]).partition(":")[0]
    if package and (version := _first_line(["dpkg-query", "-W", "-f", "${Version}", package])):
        return version
    return (_first_line([path, *_VERSIONS[name]]) if name in _VERSIONS else "") or "unknown"


def _first_line(command: list[str]) -> str:
    """The first line of a command's output; empty where the command fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout if done.returncode == 0 else "").strip().splitlines()
    return lines[0].strip() if lines else ""
