"""A host with made-up facts, so that an import says the same everywhere."""

from collections.abc import Mapping

from netd.importers.host import Host

_PORTS = {
    "auth": 113,
    "daytime": 13,
    "discard": 9,
    "echo": 7,
    "ftp": 21,
    "ident": 113,
    "ntalk": 518,
    "shell": 514,
    "telnet": 23,
    "time": 37,
    "hamnews": 9001,
    "hamwx": 9002,
    "copyd": 9003,
    "status": 9004,
    "gone": 9005,
}


class MadeUpHost(Host):
    """It has all users but ``stranger``, all programs but those in /opt/gone, and no other path."""

    has_path = False
    """Whether all other paths are there."""

    def __init__(self, texts: Mapping[str, str] | None = None, ports: Mapping[str, int] = _PORTS) -> None:
        super().__init__()
        self._texts = texts or {}
        self._ports = ports

    def port(self, name: str, protocol: str) -> int | None:
        return self._ports.get(name)

    def has_user(self, name: str) -> bool:
        return name != "stranger"

    def has_group(self, name: str) -> bool:
        return name != "stranger"

    def is_program(self, path: str) -> bool:
        return not path.startswith("/opt/gone") and "inetutils" not in path

    def find_program(self, name: str) -> str | None:
        return f"/usr/bin/{name}"

    def exists(self, path: str) -> bool:
        return self.has_path

    def text(self, path: str) -> str:
        return self._texts.get(path, "")

    def distribution(self) -> set[str]:
        return {"debian"}

    def zone(self) -> str:
        return "Europe/Berlin"
