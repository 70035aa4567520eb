"""The table of service types: those built in, and those of other packages."""

import importlib
import os
import site
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoints, entry_points

from netd.services.chargen import Chargen
from netd.services.chat import Chat
from netd.services.check import Check
from netd.services.daytime import Daytime
from netd.services.discard import Discard
from netd.services.echo import Echo
from netd.services.exec import Exec
from netd.services.forward import Forward
from netd.services.metrics import Metrics
from netd.services.pingpong import PingPong
from netd.services.python import Python
from netd.services.qotd import QuoteOfTheDay
from netd.services.reply import Reply
from netd.services.sensor import Sensor
from netd.services.service_type import DeclarationError, ServiceType
from netd.services.systat import Systat
from netd.services.tcpmux import Tcpmux
from netd.services.time import Time
from netd.services.upper import Upper
from netd.services.whoami import WhoAmI

BUILT_IN: dict[str, type] = {
    "chargen": Chargen,
    "chat": Chat,
    "check": Check,
    "daytime": Daytime,
    "discard": Discard,
    "echo": Echo,
    "exec": Exec,
    "forward": Forward,
    "metrics": Metrics,
    "pingpong": PingPong,
    "python": Python,
    "qotd": QuoteOfTheDay,
    "reply": Reply,
    "sensor": Sensor,
    "systat": Systat,
    "tcpmux": Tcpmux,
    "time": Time,
    "upper": Upper,
    "whoami": WhoAmI,
}

ENTRY_POINT_GROUP = "netd.services"


def names() -> list[str]:
    """The names of all service types, built in or from other packages."""
    return sorted({*BUILT_IN, *(entry.name for entry in _offered())})


def usable_names() -> list[str]:
    """The names of the service types that can be used: those of `names` for which `find` returns one."""
    return [name for name in names() if _is_usable(name)]


def _is_usable(name: str) -> bool:
    try:
        return find(name) is not None
    except ValueError:
        return False


@cache
def _offered() -> EntryPoints:
    """The entry points of other packages, cached: a search through all installed packages is slow."""
    return entry_points(group=ENTRY_POINT_GROUP)


def look_again() -> None:
    """Look through the installed packages again, since some may have been installed or removed."""
    for directory in site.getsitepackages():
        site.addsitedir(directory)  # where pip install -e puts a .pth file
    importlib.invalidate_caches()
    _offered.cache_clear()


def find_again(name: str) -> ServiceType | None:
    """As `find`, for a type that another process has found: its package may be newer than this process."""
    kind = find(name)
    if kind is None:
        look_again()
        kind = find(name)
    return kind


def find(name: str) -> ServiceType | None:
    """The service type of that name, or None. Raises ValueError if a package has one that cannot be used.

    Another package cannot replace a built-in type: the name means the same on every host.
    """
    if name in BUILT_IN:
        return ServiceType.of(BUILT_IN[name], name)
    for entry in _offered().select(name=name):
        try:
            loaded = entry.load()
            if name not in _loaded_from:
                _loaded_from[name] = _state_of(_sources(entry.module))
            kind = ServiceType.of(loaded, name)
            kind.options.model_rebuild()  # its errors would else come with the first options (defer_build)
            return kind
        except DeclarationError as error:
            raise ValueError(f"service type '{name}' ({entry.value}): {error.faults}") from error
        except (Exception, SystemExit) as error:  # a module of another package may raise anything when it is imported
            raise ValueError(f"service type '{name}' ({entry.value}) cannot be loaded: {error!r}") from error
    return None


Files = dict[str, tuple[int, int] | None]
"""Files, each with the time of its last change and its size; None: it cannot be read."""

_loaded_from: dict[str, Files] = {}  # by service type: its source files when it was loaded


def is_outdated(name: str) -> bool:
    """Whether a source file of a service type has changed since this process, or its parent, has loaded it.

    Python does not load it again: that takes a restart.
    """
    before = _loaded_from.get(name, {})
    return _state_of(before) != before


def _sources(module: str) -> list[str]:
    """The files of the loaded modules of the package that this one is in."""
    package = module.partition(".")[0]
    loaded = [one for name, one in list(sys.modules.items()) if name.partition(".")[0] == package]
    return [file for one in loaded if (file := getattr(one, "__file__", None))]


def _state_of(files: Iterable[str]) -> Files:
    found: Files = {}
    for file in files:
        try:
            status = os.stat(file)
            found[file] = status.st_mtime_ns, status.st_size
        except OSError:
            found[file] = None
    return found
