"""The facts about this host that the old daemon looked up when it read its config.

A subclass with other facts stands for another host.
"""

import os
import re
import shutil
import socket
from pathlib import Path

from netd import accounts

_LARGEST_FILE = 2**20
_MOST_LOOK_UPS = 16


class Host:
    """This host."""

    def __init__(self) -> None:
        self._look_ups = 0
        self._files: dict[str, list[str]] = {}

    def port(self, name: str, protocol: str) -> int | None:
        """The port of a service in /etc/services; None if it is not there."""
        try:
            return socket.getservbyname(name, protocol)
        except (OSError, ValueError):
            return None

    def network(self, name: str) -> str | None:
        """The address of a network in /etc/networks, as it stands there; None if it is not there."""
        for line in self.lines("/etc/networks"):
            words = line.partition("#")[0].split()
            if len(words) > 1 and name in (words[0], *words[2:]):
                return words[1]
        return None

    def has_user(self, name: str) -> bool:
        """Whether there is a user of this name."""
        try:
            accounts.find_user(name)
        except ValueError:
            return False
        return True

    def has_group(self, name: str) -> bool:
        """Whether there is a group of this name."""
        try:
            accounts.find_id("gid", name)
        except ValueError:
            return False
        return True

    def is_program(self, path: str) -> bool:
        """Whether a path is an executable file."""
        try:
            return os.path.isfile(path) and os.access(path, os.X_OK)
        except ValueError:
            return False

    def find_program(self, name: str) -> str | None:
        """The path of a program in PATH; None if there is none."""
        return shutil.which(name)

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory of this path."""
        try:
            return os.path.exists(path)
        except ValueError:
            return False

    def text(self, path: str) -> str:
        """The text of a file, of which at most 1 MiB is read; empty if it cannot be read."""
        return "\n".join(self.lines(path))

    def addresses(self, name: str) -> list[str]:
        """The addresses of a host name, in order; none after sixteen look-ups, each of which may wait for a server."""
        self._look_ups += 1
        if self._look_ups > _MOST_LOOK_UPS:
            return []
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, ValueError):
            return []
        return list(dict.fromkeys(str(one[4][0]) for one in found))

    def is_wrapped(self, names: set[str]) -> bool:
        """Whether /etc/hosts.deny has a rule for ALL or for one of these programs (hosts_access(5))."""
        for line in self.lines("/etc/hosts.deny"):
            daemons, colon, _ = line.partition(":")
            if colon and not line.startswith("#"):
                words = {word.partition("@")[0] for word in re.split(r"[\s,]+", daemons)}
                if words & {"ALL", *names}:
                    return True
        return False

    def distribution(self) -> set[str]:
        """The words of ID= and ID_LIKE= in os-release(5), such as debian."""
        found: set[str] = set()
        for line in self.lines("/etc/os-release"):
            if match := re.match(r"ID(?:_LIKE)?=(.*)", line):
                found.update(re.findall(r"[a-z0-9_.-]+", match[1].lower()))
        return found

    def zone(self) -> str:
        """The IANA name of the time zone of this host; UTC if it cannot be told."""
        named = os.environ.get("TZ", "").removeprefix(":") or next(iter(self.lines("/etc/timezone")), "").strip()
        target = os.path.realpath("/etc/localtime")
        named = named or target.partition("zoneinfo/")[2]
        return named if re.fullmatch(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}", named) else "UTC"

    def lines(self, path: str) -> list[str]:
        """The lines of a file, which is read once; none if it cannot be read."""
        if path not in self._files:
            try:
                with Path(path).open(encoding="utf-8", errors="replace") as stream:
                    self._files[path] = stream.read(_LARGEST_FILE).splitlines()
            except OSError:
                self._files[path] = []
        return self._files[path]
