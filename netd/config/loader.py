"""Finding every problem of a config in one go, each with its place in the file.

The sections are checked one by one, so that a mistake in one hides none in another.
"""

import glob
import grp
import json
import os
import pwd
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from netd.admission.access import NO_GROUPS, AccessRules
from netd.admission.bans import BanRules
from netd.admission.limits import Limits
from netd.admission.policy import Policy
from netd.config import source
from netd.config.model import (
    SERVICE_NAME,
    Config,
    DaemonSection,
    DefaultsSection,
    FileSection,
    LogSection,
    ServiceConfig,
    ServiceSection,
)
from netd.config.source import Mark, Problem, Source, SourceError, Where
from netd.conversation import Context
from netd.endpoints import Endpoint, suggestion
from netd.errors import ConfigError
from netd.services import table
from netd.settings import Model, shown

_MOST_FILES = 1000
_MOST_PROBLEMS = 100
_MOST_ADDRESSES = 1000

BUILT_IN_FILE = Path(__file__).parent / "dev.yaml"
"""Loopback and high ports; what a checkout shows as config/dev.yaml."""
DEFAULT_FILE = Path("/etc/netd/netd.yaml")

# Threads are few, so nobody may have many of them, or one of them for long.
_BLOCKING = Limits.model_validate({"per_source": 8, "lifetime": "60s"})

M = TypeVar("M", bound=Model)


def default_file() -> Path:
    """The config that is used when none is named: /etc/netd/netd.yaml if there, else the built-in one."""
    try:
        DEFAULT_FILE.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return BUILT_IN_FILE
    except OSError:
        pass  # it may be there: reading it will say what is the matter
    return DEFAULT_FILE


def load(file: Path) -> Config:
    """The config in ``file``. `ConfigError` holds every problem found in it and in the files it includes."""
    return _Loader(str(file)).load()


class _Loader:
    def __init__(self, file: str) -> None:
        self._file = file
        self._problems: list[Problem] = []
        self._services: list[ServiceConfig] = []
        self._endpoints: dict[tuple[str, int], list[tuple[Endpoint, str, Mark]]] = {}

    def load(self) -> Config:
        main = self._read(self._file)
        if main is None:
            raise ConfigError(map(str, self._problems))
        self._note_unknown_keys(main, FileSection.model_fields)
        daemon = self._check(main, ("daemon",), main.tree.get("daemon"), DaemonSection)
        log = self._check(main, ("log",), main.tree.get("log"), LogSection)
        bans = self._check(main, ("bans",), main.tree.get("bans"), BanRules)
        given = main.tree.get("defaults")
        defaults = self._check(main, ("defaults",), given, DefaultsSection)
        if defaults is None:
            rules = given.get("access") if isinstance(given, dict) else None
            defaults = DefaultsSection(access=_sound_rules(rules))
        rules = self._find_accounts(main, ("defaults", "access"), defaults.access)
        defaults = defaults.model_copy(update={"access": rules})
        seen: dict[str, Mark] = {}
        for part in (main, *self._included(main)):
            self._check_services(part, defaults, seen)
        if self._problems or daemon is None or log is None or bans is None:
            raise ConfigError(self._report())
        return Config(source=self._file, daemon=daemon, log=log, bans=bans, services=tuple(self._services))

    def _report(self) -> Iterator[str]:
        """The problems in the order of the files' lines; above a bound they are only counted."""
        problems = sorted(self._problems, key=lambda problem: problem.mark)
        yield from map(str, problems[:_MOST_PROBLEMS])
        if len(problems) > _MOST_PROBLEMS:
            yield f"{self._file}: and {len(problems) - _MOST_PROBLEMS} more problems"

    def _note(self, part: Source, path: Where, message: str, *, key: bool = False) -> None:
        if not any(told.path == path for told in part.problems):  # a value that could not be read needs no second line
            self._problems.append(Problem(part.mark(path, key=key), path, message))

    def _note_unknown_keys(self, part: Source, known: Iterable[str]) -> None:
        known = list(known)
        for key in part.tree.keys() - known:
            self._note(part, (key,), f"unknown key{suggestion(key, known)}", key=True)

    def _read(self, file: str, *, included: bool = False) -> Source | None:
        try:
            part = source.read(file, included=included)
        except SourceError as error:
            self._problems.append(error.problem)
            return None
        self._problems += part.problems
        return part

    def _included(self, main: Source) -> Iterator[Source]:
        """The files that ``include`` names, in the order given and, for a pattern, in that of their names."""
        patterns = main.tree.get("include")
        if patterns is None:
            return
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            self._note(main, ("include",), f"expected a list of file names, got {shown(patterns)}")
            return
        base = os.path.dirname(self._file)
        files: dict[str, None] = {}
        for number, pattern in enumerate(patterns):
            try:
                found = _find(base, pattern)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                self._note(main, ("include", number), f"{os.path.join(base, pattern)!r}: {reason}")
                continue
            files.update(dict.fromkeys(found))
            if len(files) > _MOST_FILES:
                self._note(main, ("include", number), f"more than {_MOST_FILES} files")
                return
        for file in files:
            if part := self._read(file, included=True):
                for key in part.tree.keys() - {"services"}:
                    self._note(part, (key,), "an included file may hold 'services' only", key=True)
                yield part

    def _check(self, part: Source, path: Where, value: Any, model: type[M]) -> M | None:
        """The section that stands at ``path``, or None after noting what is wrong with it."""
        if value is None:
            value = {}  # a section whose every line is commented out
        elif isinstance(value, dict):
            value = {key: inner for key, inner in value.items() if inner is not None or not _is_section(model, key)}
        try:
            # As JSON, since that is how strict models take a list for a tuple and a text for a path.
            return model.model_validate_json(json.dumps(value))
        except ValidationError as error:
            for item in error.errors(include_url=False):
                where = (*path, *item["loc"])
                match item["type"]:
                    case "extra_forbidden":
                        known = _model_at(model, item["loc"][:-1]).model_fields
                        self._note(part, where, f"unknown key{suggestion(str(where[-1]), known)}", key=True)
                    case "missing":
                        self._note(part, where[:-1], f"the key '{where[-1]}' is missing", key=True)
                    case _:
                        # Of several types a value may have, pydantic names the one it tried behind the path.
                        while not _stands(part.tree, where):
                            where = where[:-1]
                        self._note(part, where, _message(item))
            return None

    def _check_services(self, part: Source, defaults: DefaultsSection, seen: dict[str, Mark]) -> None:
        entries = part.tree.get("services")
        if entries is None:
            return
        if not isinstance(entries, dict):
            self._note(part, ("services",), f"expected a mapping of services by name, got {shown(entries)}")
            return
        for name in entries:
            mark = part.mark(("services", name), key=True)
            if name in seen:
                first = f"{seen[name].file}:{seen[name].line}"
                self._note(part, ("services", name), f"there is a service of this name in {first}", key=True)
            seen.setdefault(name, mark)
            self._check_service(part, name, defaults)

    def _check_service(self, part: Source, name: str, defaults: DefaultsSection) -> None:
        path: Where = ("services", name)
        if not re.fullmatch(SERVICE_NAME, name):
            self._note(part, path, "a name has 1 to 64 letters, digits, '_', '.' or '-', no sign first", key=True)
        entry = part.tree["services"][name]
        section = self._check(part, path, entry, ServiceSection)
        # The rest is checked on what the file says, so that it is found also where the section has other faults.
        entry = entry if isinstance(entry, dict) else {}
        kind = self._find_type(part, path, entry.get("type"), name)
        if kind is None:
            return
        endpoints = self._check_endpoints(part, name, entry, kind)
        options = None
        if isinstance(given := entry.get("options"), dict | None):
            options = self._check(part, (*path, "options"), given, kind.options)
        access = defaults.access
        limits = _layered(_BLOCKING, defaults.limits) if kind.blocks else defaults.limits
        own = section.access if section else _sound_rules(entry.get("access"))
        access = _layered(access, self._find_accounts(part, (*path, "access"), own))
        if section:
            limits = _layered(limits, section.limits)
            self._check_groups(part, path, access, endpoints)
        if options is None:
            return
        try:
            kind.build(options, Context(line_limit=limits.line))
        except ValueError as error:
            self._note(part, (*path, "options"), str(error))
        except Exception as error:  # a class from another package may raise anything
            self._note(part, (*path, "options"), f"service type '{kind.name}' cannot be built: {error!r}")
        if section is None:
            return
        self._services.append(
            ServiceConfig(
                name=name,
                type=kind.name,
                enabled=section.enabled,
                listen=endpoints,
                policy=Policy.model_construct(
                    access=access,
                    limits=limits,
                    refuse=section.refuse,
                    reply_guard=section.reply_guard,
                    amplify=section.amplify,
                ),
                options=options,
                given=given or {},
            )
        )

    def _find_accounts(self, part: Source, path: Where, rules: AccessRules) -> AccessRules:
        """The rules with numbers for names of users and groups: a worker may not be able to look them up."""
        found: dict[str, Any] = {}
        for key in ("allow", "deny"):
            numbered = []
            for number, entry in enumerate(getattr(rules, key)):
                try:
                    numbered.append(entry.numbered(_account_number))
                except ValueError as error:
                    self._note(part, (*path, key, number), str(error))
            if key in rules.model_fields_set:
                found[key] = tuple(numbered)
        return rules.model_copy(update=found)

    def _check_groups(self, part: Source, path: Where, rules: AccessRules, endpoints: tuple[Endpoint, ...]) -> None:
        """Of who sends a UNIX datagram the kernel tells the user and one group: a rule about groups would not hold."""
        if rules.asks_groups:
            for number, endpoint in enumerate(endpoints):
                if endpoint.transport == "unixgram":
                    self._note(part, (*path, "listen", number), NO_GROUPS)

    def _find_type(self, part: Source, path: Where, given: object, name: str) -> table.ServiceType | None:
        if given is not None and not isinstance(given, str):
            return None  # noted with the section
        where, hint = (path, " (or say which with 'type:')") if given is None else ((*path, "type"), "")
        wanted = name if given is None else given
        try:
            if kind := table.find(wanted):
                return kind
            message = f"unknown service type {shown(wanted)}{suggestion(wanted, table.names())}{hint}"
        except ValueError as error:
            message = str(error)
        self._note(part, where, message, key=given is None)
        return None

    def _check_endpoints(
        self, part: Source, name: str, entry: dict[str, Any], kind: table.ServiceType
    ) -> tuple[Endpoint, ...]:
        endpoints = []
        listen = entry.get("listen")
        for number, text in enumerate(listen if isinstance(listen, list) else []):
            try:
                endpoint = Endpoint.parse(text)
            except ValueError:
                continue  # noted with the section
            path = ("services", name, "listen", number)
            if endpoint.transport != "systemd" and not (kind.streams if endpoint.streams else kind.datagrams):
                can = "streams (tcp, unix)" if kind.streams else "datagrams (udp, unixgram)"
                self._note(part, path, f"service type '{kind.name}' serves {can} only")
            if entry.get("enabled", True) is True:
                self._check_overlap(part, path, name, endpoint)
            endpoints.append(endpoint)
        return tuple(endpoints)

    def _check_overlap(self, part: Source, path: Where, name: str, endpoint: Endpoint) -> None:
        """Two enabled services may not listen in one place; a disabled one may stand in for another."""
        others = self._endpoints.setdefault((endpoint.path or endpoint.name, endpoint.port), [])
        if len(others) == _MOST_ADDRESSES:
            return self._note(part, path, f"more than {_MOST_ADDRESSES} addresses of one port; * stands for all")
        for other, owner, mark in others:
            if endpoint.overlaps(other):
                self._note(part, path, f"{endpoint} is taken by {other} of '{owner}' in {mark.file}:{mark.line}")
                break
        others.append((endpoint, name, part.mark(path)))


def _sound_rules(given: object) -> AccessRules:
    """The access rules in a section with other faults, if they have none; else none."""
    try:
        return AccessRules.model_validate_json(json.dumps(given))
    except ValidationError:
        return AccessRules()


def _layered(base: M, own: M) -> M:
    """What is given in ``own``, and the rest from ``base``."""
    return base.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


def _account_number(kind: str, name: str) -> int:
    """The number of a user (``uid``) or group (``gid``); ValueError where there is none."""
    try:
        return pwd.getpwnam(name).pw_uid if kind == "uid" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(f"there is no {'user' if kind == 'uid' else 'group'} '{name}'") from None


def _find(base: str, pattern: str) -> list[str]:
    """The files a pattern means. OSError, for one with neither * nor ?, when it is not there."""
    if "\0" in pattern:
        raise ValueError("a file name cannot hold the character NUL")
    path = os.path.join(base, pattern)
    if not re.search(r"[*?]", pattern):
        os.stat(path)
        return [path]
    directory = os.path.dirname(path)
    if os.path.isdir(directory):
        os.listdir(directory)  # glob finds nothing in a directory it may not read, and says nothing
    return sorted(glob.glob(os.path.join(glob.escape(base), pattern.replace("[", "[[]"))))


def _stands(tree: Any, path: Where) -> bool:
    """Whether there is a value at the path."""
    for step in path:
        try:
            tree = tree[step]
        except (LookupError, TypeError):
            return False
    return True


def _is_section(model: type[Model], key: str) -> bool:
    field = model.model_fields.get(key)
    return field is not None and (key == "options" or isinstance(field.default, Model))


def _model_at(model: type[Model], loc: tuple[int | str, ...]) -> type[Model]:
    """The model of the mapping at ``loc`` below a section."""
    for step in loc:
        if field := model.model_fields.get(str(step)):
            # Of list[Item] and the like, the items are meant: their positions are steps of their own.
            for inner in (field.annotation, *get_args(field.annotation)):
                if isinstance(inner, type) and issubclass(inner, Model):
                    model = inner
    return model


_EXPECTED = {
    "bool_type": "true or false",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def _message(item: Any) -> str:
    """What pydantic found, in the words of somebody who edits a YAML file."""
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    if item["type"] == "literal_error":
        return f"expected {item['ctx']['expected']}, got {shown(item['input'])}"
    if expected := _EXPECTED.get(item["type"]):
        return f"expected {expected}, got {shown(item['input'])}"
    return f"{item['msg'][:1].lower()}{item['msg'][1:]}, got {shown(item['input'])}"
