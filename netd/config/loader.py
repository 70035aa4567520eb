"""Loads a config and finds all of its problems at once, each with its place in the file.

The sections are checked one by one, so that a problem in one does not hide those in another.
"""

import gc
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from netd import default_paths
from netd.admission.access import NO_GROUPS, AccessRules
from netd.admission.bans import BanRules
from netd.admission.limits import Limits
from netd.admission.policy import Policy
from netd.config import banners, drop_ins, forward_tls, forwards, origins, programs, proxies, sensors, source, workers
from netd.config import code as code_of
from netd.config.addresses import Addresses
from netd.config.bounds import CERTIFICATES, ISOLATED, LISTENERS, NETWORKS, SERVICES, VALUES, Bound
from netd.config.findings import describe, exists, is_section, model_at, unknown_key
from netd.config.host import log_file_fault
from netd.config.include import included_files
from netd.config.isolation import findings as isolation_findings
from netd.config.model import (
    SERVICE_NAME,
    Code,
    Config,
    DaemonSection,
    DefaultsSection,
    FileSection,
    LogSection,
    ServiceConfig,
    ServiceSection,
)
from netd.config.problems import InvalidConfigError, Mark, Problem, Where
from netd.config.renamed import rename_keys
from netd.config.rules import RuleSets, certificate_findings, merge, resolve_accounts
from netd.config.source import Source, SourceError
from netd.config.tcpmux import Multiplexing
from netd.config.tls import TlsReader, relayed
from netd.contract import Context
from netd.endpoints import Endpoint
from netd.errors import faults_of
from netd.services import table
from netd.services.exec.options import ProgramOptions
from netd.services.forward.options import ForwardOptions
from netd.services.python.options import PythonOptions
from netd.services.service_type import ServiceType
from netd.text import likely, shown
from netd.values import Model

_MOST_PROBLEMS = 100

BUILT_IN_FILE = Path(__file__).parent / "dev.yaml"
"""Services on loopback and high ports; in a checkout it is linked as config/dev.yaml."""
EXAMPLE_FILE = Path(__file__).parent / "netd.yaml"
"""The commented config with every key; in a checkout it is a link to config/netd.yaml."""

# Threads are few, so that a source gets some of them only, and for a limited time.
_BLOCKING = Limits.model_validate({"per_source": 8, "lifetime": "1m"})
M = TypeVar("M", bound=Model)


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
        self._problems: list[Problem] = []
        self._notices: list[Problem] = []
        self._origins: list[bytes] = []
        self._services: list[ServiceConfig] = []
        self._totals: Counter[Bound] = Counter()
        self._addresses = Addresses()
        self._targets: list[forwards.Place] = []
        self._tls = TlsReader()
        self._multiplexing = Multiplexing()

    def load(self, text: str | None) -> Config:
        main = self._read(self._file) if text is None else source.parse(text.encode(), self._file)
        if main is None:
            raise self._invalid()
        problems, notices = rename_keys(main)
        self._problems += problems
        self._notices += notices
        self._note_unknown_keys(main, FileSection.model_fields)
        daemon = self._check(main, ("daemon",), main.tree.get("daemon"), DaemonSection)
        self._daemon = daemon or DaemonSection()
        for key, message in workers.faults(self._daemon):
            self._add_problem(main, ("daemon", key), message)
        if self._daemon.on_stop == "leave" and (needed := drop_ins.missing(drop_ins.LEAVE)):
            self._notices.append(Problem(main.mark(("daemon", "on_stop")), ("daemon", "on_stop"), needed))
        log = self._check(main, ("log",), main.tree.get("log"), LogSection)
        bans = self._check(main, ("bans",), main.tree.get("bans"), BanRules)
        if log and log.file and (fault := log_file_fault(log.file)):
            self._add_problem(main, ("log", "file"), *fault)
        defaults, rules = self._check_with_rules(main, ("defaults",), main.tree.get("defaults"), DefaultsSection)
        self._rules = RuleSets(rules or AccessRules())
        seen: dict[str, Mark] = {}
        # One file at a time, to limit memory.
        for part in itertools.chain((main,), self._included(main)):
            self._check_services(part, defaults or DefaultsSection(), seen)
            self._origins.append(origins.pack(part))
        self._problems += forwards.own_listeners(self._targets, self._addresses.claimed)
        self._multiplexing.check(self._problems, self._notices)
        if self._problems or daemon is None or log is None or bans is None:
            raise self._invalid()
        self._rules.tables.seal()
        return Config(
            source=self._file,
            daemon=daemon,
            log=log,
            bans=bans,
            services=tuple(self._services),
            access_tables=self._rules.tables,
            notices=tuple(self._notices),
            origins=tuple(self._origins),
            places={
                f"{section}.{key}": str(main.mark((section, key)))
                for section in ("daemon", "log")
                for key in main.tree.get(section) or ()
            },
        )

    def _invalid(self) -> InvalidConfigError:
        """The problems, sorted by file and line; those above a bound are counted only."""
        problems = sorted(self._problems, key=lambda problem: problem.mark)
        return InvalidConfigError(problems[:_MOST_PROBLEMS], self._notices, max(0, len(problems) - _MOST_PROBLEMS))

    def _add_problem(self, part: Source, path: Where, message: str, hint: str = "", *, key: bool = False) -> None:
        if path not in part.unreadable:  # a value that could not be read has a message already
            self._problems.append(Problem(part.mark(path, key=key), path, message, hint))

    def _within(self, part: Source, path: Where, bound: Bound, number: int = 1) -> bool:
        """Count ``number`` more of something, and return whether the bound holds. The first excess is a problem."""
        self._totals[bound] += number
        total = self._totals[bound]
        if total - number <= bound.most < total:
            self._add_problem(part, path, f"more than {bound.most} {bound.what}", key=True)
        return total <= bound.most

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
            self._add_problem(part, (key,), message, hint, key=True)

    def _read(self, file: str) -> Source | None:
        try:
            part = source.read(file)
        except SourceError as error:
            self._problems.append(error.problem)
            return None
        self._problems += part.problems
        return part

    def _included(self, main: Source) -> Iterator[Source]:
        """The files in ``include``, in the order given; those that match a pattern are sorted by name."""
        files, faults = included_files(os.path.dirname(self._file), main.tree.get("include"))
        for where, message in faults:
            self._add_problem(main, ("include", *where), message)
        for file in files:
            if part := self._read(file):
                if not self._within(part, (), VALUES, part.values):
                    return
                self._note_unknown_keys(part, ("services",), included=True)
                yield part

    def _check(self, part: Source, path: Where, value: Any, model: type[M]) -> M | None:
        """The section at ``path``, or None after its problems were added."""
        if value is None:
            value = {}  # a section with all lines commented out
        elif isinstance(value, dict):
            value = {key: inner for key, inner in value.items() if inner is not None or not is_section(model, key)}
        try:
            if issubclass(model, AccessRules):
                return model.model_validate(value)
            # As JSON, from which strict models accept a list for a tuple and a string for a path.
            return model.model_validate_json(json.dumps(value))
        except ValidationError as error:
            for item in error.errors(include_url=False):
                where = (*path, *item["loc"])
                match item["type"]:
                    case "extra_forbidden":
                        fields = model_at(model, item["loc"][:-1]).model_fields
                        known = [field.alias or name for name, field in fields.items()]
                        self._add_problem(part, where, *unknown_key(str(where[-1]), known), key=True)
                    case "missing":
                        self._add_problem(part, where[:-1], f"the key '{where[-1]}' is missing", key=True)
                    case _:
                        # For a union of types, pydantic appends the type that it tried to the path.
                        while not exists(part.tree, where):
                            where = where[:-1]
                        for fault in describe(item):
                            self._add_problem(part, where, fault.message, fault.hint)
            return None

    def _check_with_rules(
        self, part: Source, path: Where, value: Any, model: type[M]
    ) -> tuple[M | None, AccessRules | None]:
        """A section and its access rules, checked apart, so that a problem in one does not hide those in the other."""
        given = None
        if isinstance(value, dict):
            given = value.get("access")
            value = {key: inner for key, inner in value.items() if key != "access"}
        section = self._check(part, path, value, model)
        path = (*path, "access")
        rules = self._check(part, path, given, AccessRules)

        def add_problem(key: str, number: int, message: str) -> None:
            self._add_problem(part, (*path, key, number), message)

        return section, rules and resolve_accounts(rules, add_problem)

    def _check_services(self, part: Source, defaults: DefaultsSection, seen: dict[str, Mark]) -> None:
        entries = part.tree.get("services")
        if entries is None:
            return
        if not isinstance(entries, dict):
            self._add_problem(part, ("services",), f"expected a mapping of services by name, got {shown(entries)}")
            return
        for name in entries:
            if not self._within(part, ("services", name), SERVICES):
                return
            mark = part.mark(("services", name), key=True)
            if name in seen:
                first = f"{seen[name].file}:{seen[name].line}"
                self._add_problem(part, ("services", name), f"duplicate service, first in {first}", key=True)
            seen.setdefault(name, mark)
            self._check_service(part, name, defaults)

    def _check_service(self, part: Source, name: str, defaults: DefaultsSection) -> None:
        path: Where = ("services", name)
        if not re.fullmatch(SERVICE_NAME, name):
            message = "expected 1 to 64 letters, digits, '_', '.' or '-', beginning with a letter or digit"
            self._add_problem(part, path, message, key=True)
        entry = part.tree["services"][name]
        section, rules = self._check_with_rules(part, path, entry, ServiceSection)
        if isinstance(entry, dict | None) and "listen" not in (entry or {}) and not (entry or {}).get("tcpmux"):
            self._add_problem(part, path, "the key 'listen' is missing", key=True)
        # The rest is checked from the values in the file, also if the section has problems.
        entry = entry if isinstance(entry, dict) else {}
        kind = self._find_type(part, path, entry.get("type"), name)
        code = None
        if kind and kind.options is PythonOptions:
            line_limit = merge(defaults.limits, section.limits if section else Limits()).line
            kind, code = self._inspect_code(part, path, entry, kind, line_limit)
        if kind is None:
            return
        endpoints = self._check_endpoints(part, name, entry, kind)
        options = None
        if isinstance(given := entry.get("options"), dict | None):
            given = relayed(given or {}, endpoints, kind.options)
            options = self._check(part, (*path, "options"), given, kind.options)
        limits = merge(_BLOCKING, defaults.limits) if kind.blocks else defaults.limits
        own = rules or AccessRules()
        access = self._rules.add(own, lambda bound, number: self._within(part, (*path, "access"), bound, number))
        if rules and access.asks_groups:
            self._refuse_groups(part, path, endpoints)
        limits = merge(limits, section.limits) if section else limits
        if options is None:
            return
        try:
            kind.build(options, Context(line_limit=limits.line))
        except ValueError as error:
            for fault in faults_of(error):
                self._add_problem(part, (*path, "options"), fault.message, fault.hint)
        except Exception as error:  # a class from another package may raise anything
            self._add_problem(part, (*path, "options"), f"service type '{kind.name}' cannot be built: {error!r}")
        if section is None or rules is None:
            return
        with_tls = any(endpoint.transport == "tls" for endpoint in endpoints)
        certificates = len(section.tls.certificate or defaults.tls.certificate) if with_tls else 0
        if not self._within(part, path, CERTIFICATES, certificates):
            return
        tls, tls_files, tls_findings = self._tls.read(defaults.tls, section, endpoints, options)
        banner_octets, banner_findings = banners.read(section, endpoints, options)
        found = [proxies.findings(section.proxy_protocol, endpoints, options), tls_findings, banner_findings]
        found += sensors.findings(endpoints, options), isolation_findings(kind, isolate=section.isolate)
        self._within(part, (*path, "isolate"), ISOLATED, int(section.isolate))
        merged = self._rules.merged(rules)
        pairs = self._multiplexing.add(part, path, kind, section, endpoints, options, merged, tls)
        found += pairs, certificate_findings(merged, endpoints, tls)
        if isinstance(options, ProgramOptions):
            found.append(programs.findings(programs.Service(kind, options, section, merged, endpoints, self._daemon)))
        if isinstance(options, ForwardOptions):
            tls_files, to_tls = forward_tls.read(options, tls_files, enabled=section.enabled)
            found += [forwards.findings(endpoints, options), to_tls]
            self._targets += forwards.places(part, path, options) if section.enabled else ()
        for where, message, hint, is_notice in itertools.chain(*found):
            problem = Problem(part.mark((*path, *where)), (*path, *where), message, hint)
            (self._notices if is_notice else self._problems).append(problem)
        networks = (limits.exempt, section.amplify, section.proxy_protocol.sources if section.proxy_protocol else ())
        self._within(part, path, NETWORKS, sum(map(len, networks)))
        self._services.append(
            ServiceConfig(
                name=name,
                type=kind.name,
                enabled=section.enabled,
                listen=endpoints,
                access=access,
                policy=Policy.model_construct(
                    **{key: getattr(section, key) for key in Policy.model_fields} | {"limits": limits, "tls": tls}
                ),
                banners=banner_octets,
                isolate=section.isolate,
                log_connections=section.log_connections or ("debug" if kind.polled else None),
                options=options,
                given=given,
                tls_files=tls_files,
                code=code,
            )
        )

    def _refuse_groups(self, part: Source, path: Where, endpoints: tuple[Endpoint, ...]) -> None:
        """Refuse gid rules for UNIX datagrams: the kernel reports the user of a sender, but only one of its groups."""
        for number, endpoint in enumerate(endpoints):
            if endpoint.transport == "unixgram":
                self._add_problem(part, (*path, "listen", number), NO_GROUPS)

    def _find_type(self, part: Source, path: Where, given: object, name: str) -> ServiceType | None:
        if given is not None and not isinstance(given, str):
            return None  # a problem of the section already
        where, extra = (path, " (or set 'type:')") if given is None else ((*path, "type"), "")
        wanted = name if given is None else given
        try:
            if kind := table.find(wanted):
                return kind
            message, hint = f"unknown service type {shown(wanted)}", likely(wanted, table.usable_names()) + extra
        except ValueError as error:
            message, hint = str(error), ""
        self._add_problem(part, where, message, hint, key=given is None)
        return None

    def _inspect_code(
        self, part: Source, path: Where, entry: dict[str, Any], kind: ServiceType, line_limit: int
    ) -> tuple[ServiceType | None, Code | None]:
        """How the code of a `python` service is served; None after its problems were added."""
        given, enabled = entry.get("options") or {}, entry.get("enabled", True) is True
        options = self._check(part, (*path, "options"), given, PythonOptions) if isinstance(given, dict) else None
        if options is None:
            return None, None
        found = code_of.inspect(kind, options, line_limit, self._daemon, enabled=enabled)
        for where, message, hint, is_notice, mark in found.findings:
            problem = Problem(mark or part.mark((*path, *where)), (*path, *where), message, hint)
            (self._notices if is_notice else self._problems).append(problem)
        return found.kind, found.code

    def _check_endpoints(
        self, part: Source, name: str, entry: dict[str, Any], kind: ServiceType
    ) -> tuple[Endpoint, ...]:
        endpoints = []
        for number, text in enumerate(given if isinstance(given := entry.get("listen"), list) else []):
            try:
                endpoint = Endpoint.parse(text)
            except ValueError:
                continue  # a problem of the section already
            path = ("services", name, "listen", number)
            if not self._within(part, path, LISTENERS):
                break
            if endpoint.transport != "systemd" and not (kind.streams if endpoint.streams else kind.datagrams):
                can = "streams (tcp, tls, unix)" if kind.streams else "datagrams (udp, unixgram)"
                what = "its options.class" if kind.options is PythonOptions else f"service type '{kind.name}'"
                self._add_problem(part, path, f"{what} serves {can} only")
            if not kind.listens and workers.answers_astray(self._daemon, endpoint):
                self._add_problem(part, path, "daemon.chroot hides the sockets of clients; listen on unixgram://@NAME")
            if entry.get("enabled", True) is True and (taken := self._addresses.claim(endpoint, name, part.mark(path))):
                self._add_problem(part, path, taken)  # a disabled one may be an alternative to an enabled one
            endpoints.append(replace(endpoint, place=str(part.mark(path)), number=number))
        return tuple(endpoints)
