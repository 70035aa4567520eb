"""Loads a config: reads its files, and finds all problems at once, each with its place.

`sections.py` checks each section by itself, so that a problem in one does not hide those in another;
`services.py` makes the services.
"""

import gc
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from netd import default_paths
from netd.admission.access import AccessRules
from netd.admission.bans import BanRules
from netd.config import drop_ins, origins, source, workers
from netd.config.bounds import VALUES
from netd.config.host import log_file_fault
from netd.config.include import included_files
from netd.config.model import Config, DaemonSection, DefaultsSection, FileSection, LogSection
from netd.config.model_errors import unknown_key
from netd.config.problems import Problem
from netd.config.renamed import rename_keys
from netd.config.sections import Sections
from netd.config.services import Services
from netd.config.source import Source, SourceError
from netd.services import table
from netd.values import Model

BUILT_IN_FILE = Path(__file__).parent / "dev.yaml"
"""Services on loopback and high ports; in a checkout it is linked as config/dev.yaml."""
EXAMPLE_FILE = Path(__file__).parent / "netd.yaml"
"""The commented config with every key; in a checkout it is a link to config/netd.yaml."""
_SECTIONS: dict[str, type[Model]] = {
    "defaults": DefaultsSection,
    "daemon": DaemonSection,
    "log": LogSection,
    "bans": BanRules,
}


def default_file() -> Path:
    """The config to use if none is given: /etc/netd/netd.yaml if it exists, else the built-in one."""
    return default_paths.CONFIG_FILE if default_paths.config_exists() else BUILT_IN_FILE


def load(file: Path, text: str | None = None) -> Config:
    """Load a config, or a text in its place. Raises `ConfigError` with every problem in it and in what it includes."""
    # The garbage collector would traverse hundreds of thousands of values again and again, which takes a fifth of the
    # time, and find no garbage.
    collects = gc.isenabled()
    gc.disable()
    try:
        return _Loader(str(file)).load(text)
    finally:
        if collects:
            gc.enable()


class _Loader:
    def __init__(self, file: str) -> None:
        self._file = file
        self._sections = Sections()

    def load(self, text: str | None) -> Config:
        sections = self._sections
        main = self._read(self._file) if text is None else source.parse(text.encode(), self._file)
        if main is None:
            raise sections.error()
        problems, notices = rename_keys(main)
        sections.problems += problems
        sections.notices += notices
        self._note_unknown_keys(main, FileSection.model_fields)
        daemon = self._check_daemon(main)
        log = sections.check(main, ("log",), main.tree.get("log"), LogSection)
        bans = sections.check(main, ("bans",), main.tree.get("bans"), BanRules)
        if log and log.file and (fault := log_file_fault(log.file)):
            sections.add_problem(main, ("log", "file"), *fault)
        defaults, rules = sections.check_with_rules(main, ("defaults",), main.tree.get("defaults"), DefaultsSection)
        services = Services(sections, daemon or DaemonSection(), defaults or DefaultsSection(), rules or AccessRules())
        packed = []
        # One file at a time, to limit memory.
        for part in itertools.chain((main,), self._included(main)):
            services.check(part)
            packed.append(origins.pack(part))
        services.check_together()
        if sections.problems or daemon is None or log is None or bans is None:
            raise sections.error()
        services.access_tables.seal()
        return Config(
            source=self._file,
            daemon=daemon,
            log=log,
            bans=bans,
            services=tuple(services.checked),
            access_tables=services.access_tables,
            notices=tuple(sections.notices),
            origins=tuple(packed),
            places={
                f"{section}.{key}": str(main.mark((section, key)))
                for section in ("daemon", "log")
                for key in main.tree.get(section) or ()
            },
        )

    def _check_daemon(self, main: Source) -> DaemonSection | None:
        daemon = self._sections.check(main, ("daemon",), main.tree.get("daemon"), DaemonSection)
        given = daemon or DaemonSection()
        for key, message in workers.faults(given):
            self._sections.add_problem(main, ("daemon", key), message)
        if given.on_stop == "leave" and (needed := drop_ins.missing(drop_ins.LEAVE)):
            self._sections.notices.append(Problem(main.mark(("daemon", "on_stop")), ("daemon", "on_stop"), needed))
        return daemon

    def _note_unknown_keys(self, part: Source, known: Iterable[str], *, included: bool = False) -> None:
        """Report the top-level keys that are not known, but for ``x-…``, which may hold values for aliases."""
        for key, value in part.tree.items():
            if key in known or key.startswith("x-"):
                continue
            message, hint = unknown_key(key, known)
            if key in table.BUILT_IN or (isinstance(value, dict) and "listen" in value):
                message, hint = "a service belongs below 'services:'", "indent it"
            elif included:
                message, hint = "an included file may contain 'services' only", ""
            elif section := next((name for name, model in _SECTIONS.items() if key in model.model_fields), ""):
                message, hint = f"it belongs below '{section}:'", "indent it"
            self._sections.add_problem(part, (key,), message, hint, key=True)

    def _read(self, file: str) -> Source | None:
        try:
            part = source.read(file)
        except SourceError as error:
            self._sections.problems.append(error.problem)
            return None
        self._sections.problems += part.problems
        return part

    def _included(self, main: Source) -> Iterator[Source]:
        """The files in ``include``, in the order given; those that match a pattern are sorted by name."""
        files, faults = included_files(os.path.dirname(self._file), main.tree.get("include"))
        for where, message in faults:
            self._sections.add_problem(main, ("include", *where), message)
        for file in files:
            if part := self._read(file):
                if not self._sections.within(part, (), VALUES, part.values):
                    return
                self._note_unknown_keys(part, ("services",), included=True)
                yield part
