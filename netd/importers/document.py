"""The config that an import makes: services with the comments of the source above what they explain."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from netd.config.bounds import SERVICES
from netd.config.model import SERVICE_NAME
from netd.endpoints import Endpoint
from netd.errors import ConfigError
from netd.importers.account import Place

Path = tuple[str, ...]

_LONGEST_NAME = 64
_MOST_ADDRESSES = 1000
_ORDER = (
    "type",
    "enabled",
    "listen",
    "access",
    "limits",
    "refuse",
    "banner",
    "load",
    "tcpmux",
    "log_connections",
    "options",
)


class Word(str):
    """A word that is written without quotes although YAML reads it as something else, as ``off``."""


@dataclass
class Service:
    """One service of the result."""

    name: str
    place: Place
    """Where the source has it."""
    comments: list[str] = field(default_factory=list)
    """The lines above it, without the mark of a comment."""
    tree: dict[str, Any] = field(default_factory=dict)
    """Its keys, as in the config: mappings, lists, text, numbers, booleans."""
    explained: dict[Path, list[str]] = field(default_factory=dict)
    """The comments above a key, by its path."""

    def put(self, value: object, *path: str, comments: list[str] | None = None) -> None:
        """Set the key at a path, and add comments above it."""
        here = self.tree
        for step in path[:-1]:
            here = here.setdefault(step, {})
        here[path[-1]] = value
        self.explain(path, comments or [])

    def explain(self, path: Path, comments: list[str]) -> None:
        """Add comments above a key, or above the service where the path is empty."""
        if comments:
            (self.explained.setdefault(path, []) if path else self.comments).extend(comments)

    def get(self, *path: str) -> Any:
        """The value at a path; None if there is none."""
        here: Any = self.tree
        for step in path:
            if not isinstance(here, dict) or step not in here:
                return None
            here = here[step]
        return here

    @property
    def enabled(self) -> bool:
        """Whether it is on."""
        return self.tree.get("enabled") is not False

    def switch_off(self, reason: str = "") -> None:
        """Have it off in the result. The reason stands above the key."""
        self.put(False, "enabled")
        if reason and reason not in self.explained.get(("enabled",), ()):
            self.explain(("enabled",), [reason])

    @property
    def tcpmux_name(self) -> str:
        """The name that clients of tcpmux send, in lower case; empty if it has none."""
        given = self.tree.get("tcpmux", "")
        return str(given["name"] if isinstance(given, dict) else given).lower()

    @property
    def endpoints(self) -> list[Endpoint]:
        """What it listens on."""
        return [Endpoint.parse(url) for url in self.tree.get("listen", ())]


class Document:
    """All services of the result, by names that netd accepts, and comments at the beginning and the end."""

    def __init__(self) -> None:
        self.heading: list[str] = []
        self.closing: list[str] = []
        self.daemon: dict[str, Any] = {}
        """The section `daemon:`."""
        self.services: dict[str, Service] = {}
        self._same: Counter[str] = Counter()
        self._names: dict[str, Service] = {}  # of tcpmux, in lower case
        self._listeners: dict[tuple[str, int], list[tuple[Endpoint, Service]]] = {}

    def add(self, service: Service) -> str:
        """Add a service. Returns what became of its name: empty, or the text of a note.

        Raises `ConfigError` for more services, or addresses of one port, than netd takes.
        """
        if len(self.services) == SERVICES.most:
            raise ConfigError([f"{service.place}: more than {SERVICES.most} services, which netd does not take"])
        wanted = service.name
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", wanted)[:_LONGEST_NAME]
        if not re.fullmatch(SERVICE_NAME, name):
            name = f"x{name}"[:_LONGEST_NAME]
        free = name
        while free in self.services:
            self._same[name] += 1
            free = f"{name[: _LONGEST_NAME - 6]}-{self._same[name] + 1}"
        service.name = free
        if free != wanted and "type" not in service.tree:
            service.put(wanted, "type")  # which was its name
        service.tree = {key: service.tree[key] for key in _ORDER if key in service.tree}
        self.services[free] = service
        if service.enabled:
            self._register(service, service.endpoints)
            if name := service.tcpmux_name:
                self._names[name] = service
        return "" if free == wanted else f"it is named {free} in netd"

    def extend(self, service: Service, urls: list[str]) -> None:
        """Have a service that was added listen on more URLs. Raises `ConfigError` as `add` does."""
        service.put([*service.get("listen"), *urls], "listen")
        self._register(service, map(Endpoint.parse, urls))

    def _register(self, service: Service, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            there = self._listeners.setdefault(_place(endpoint), [])
            if len(there) == _MOST_ADDRESSES:
                text = f"more than {_MOST_ADDRESSES} addresses of one port, which netd does not take"
                raise ConfigError([f"{service.place}: {text}"])
            there.append((endpoint, service))

    def conflict(self, service: Service) -> Service | None:
        """A service that is on and has an address of this one, or its name in tcpmux; None if there is none."""
        if (name := service.tcpmux_name) and (other := self._names.get(name)) and other.enabled:
            return other
        for endpoint in service.endpoints:
            for theirs, other in self._listeners.get(_place(endpoint), ()):
                if other.enabled and endpoint.overlaps(theirs):
                    return other
        return None


def _place(endpoint: Endpoint) -> tuple[str, int]:
    """What endpoints have in common that may overlap."""
    return endpoint.path or endpoint.name, endpoint.port
