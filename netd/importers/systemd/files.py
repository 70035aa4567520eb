"""Finds the files of a unit: its own and its drop-ins (systemd.unit(5))."""

import os

from netd.errors import ConfigError
from netd.importers.source_files import Files, UnreadableError
from netd.importers.systemd.units import Unit, drop_in_names, drop_in_order
from netd.text import printable

DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
"""Where systemd looks for units, the first to win."""
_MOST_DROP_INS = 100
_MOST_ASSIGNMENTS = 2000


class UnitFiles:
    """Reads units by name or path."""

    def __init__(self, directories: tuple[str, ...] = DIRECTORIES) -> None:
        self._directories = directories
        self._files = Files()

    def socket(self, argument: str) -> tuple[Unit, tuple[str, ...]]:
        """A socket unit by its name or its path, and the directories in which the units beside it are looked for.

        Raises ConfigError.
        """
        name = os.path.basename(argument)
        if not name.endswith(".socket"):
            raise ConfigError([f"{printable(argument)}: expected a socket unit, such as rsync.socket"])
        directories = self._directories
        if "/" in argument:
            own = os.path.dirname(argument)
            directories = (own, *(one for one in directories if one != own))
        unit = self.unit(name, directories)
        if unit is None:
            raise ConfigError([f"{printable(argument)}: there is no such unit in {', '.join(directories)}"])
        return unit, directories

    def unit(self, name: str, directories: tuple[str, ...]) -> Unit | None:
        """A unit with its drop-ins; None if there is none. Raises ConfigError if a file of it cannot be read."""
        if "/" in name or "\0" in name:
            return None
        for directory in directories:
            path = f"{directory}/{name}"
            if os.path.lexists(path):
                break
        else:
            return None
        found = Unit(name)
        own = [f"{one}/{inner}" for one in directories for inner in drop_in_names(name)]
        of_all = [f"{one}/{name.rpartition('.')[2]}.d" for one in directories]
        drop_ins = drop_in_order((place, file) for place in (*own, *of_all) for file in _names(place))
        for file in (path, *drop_ins[:_MOST_DROP_INS]):
            try:
                found.add(self._files.read(file))
            except UnreadableError as error:
                masked = os.path.realpath(file) == os.devnull
                reason = "the unit is masked, so systemd does not start it" if masked else error
                raise ConfigError([f"{printable(file)}: {reason}"]) from None
            if len(found.directives) > _MOST_ASSIGNMENTS:
                raise ConfigError([f"{printable(file)}: more than {_MOST_ASSIGNMENTS} assignments of one unit"])
        return found


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
