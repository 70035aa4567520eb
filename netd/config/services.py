"""The services of a config while it is loaded: from the entries below ``services`` to a `ServiceConfig` each.

What concerns one kind of services has a file of its own (`programs.py`, `forwards.py`, `proxies.py`, …); here their
findings come together, in a fixed order.
"""

import itertools
import re
from dataclasses import replace
from typing import Any

from netd.admission.access import NO_GROUPS, AccessRules
from netd.admission.access_memory import AccessTables
from netd.admission.banner import Banners
from netd.admission.limits import Limits
from netd.admission.policy import Policy
from netd.config import banners, forward_tls, forwards, programs, proxies, sensors, workers
from netd.config import code as code_of
from netd.config.addresses import Addresses
from netd.config.bounds import CERTIFICATES, ISOLATED, LISTENERS, NETWORKS, SERVICES
from netd.config.isolation import findings as isolation_findings
from netd.config.model import SERVICE_NAME, Code, DaemonSection, DefaultsSection, ServiceConfig, ServiceSection
from netd.config.problems import Mark, Where
from netd.config.rules import RuleSets, certificate_findings, merge
from netd.config.sections import Sections
from netd.config.source import Source
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
from netd.tls.options import TlsOptions
from netd.tls.service_files import ServiceFiles
from netd.values import Model

# Threads are few, so that a source gets some of them only, and for a limited time.
_BLOCKING = Limits.model_validate({"per_source": 8, "lifetime": "1m"})


class Services:
    """The services of all files of a config. ``rules`` are the access rules of ``defaults``.

    Problems and notices are added to ``sections``.
    """

    def __init__(
        self, sections: Sections, daemon: DaemonSection, defaults: DefaultsSection, rules: AccessRules
    ) -> None:
        self.checked: list[ServiceConfig] = []
        """The services so far, without those of which nothing can be made."""
        self._sections = sections
        self._daemon = daemon
        self._defaults = defaults
        self._rules = RuleSets(rules)
        self._seen: dict[str, Mark] = {}
        self._addresses = Addresses()
        self._targets: list[forwards.Place] = []
        self._tls = TlsReader()
        self._multiplexing = Multiplexing()

    @property
    def access_tables(self) -> AccessTables:
        """The compiled access rules of the services."""
        return self._rules.tables

    def check_together(self) -> None:
        """Check what concerns several services, when the last file was checked."""
        self._sections.problems += forwards.own_listeners(self._targets, self._addresses.claimed)
        self._multiplexing.check(self._sections.problems, self._sections.notices)

    def check(self, part: Source) -> None:
        """Check the services in one file, and keep those without problems."""
        entries = part.tree.get("services")
        if entries is None:
            return
        if not isinstance(entries, dict):
            message = f"expected a mapping of services by name, got {shown(entries)}"
            self._sections.add_problem(part, ("services",), message)
            return
        for name in entries:
            if not self._sections.within(part, ("services", name), SERVICES):
                return
            mark = part.mark(("services", name), key=True)
            if name in self._seen:
                first = f"{self._seen[name].file}:{self._seen[name].line}"
                self._sections.add_problem(part, ("services", name), f"duplicate service, first in {first}", key=True)
            self._seen.setdefault(name, mark)
            self._check_service(part, name)

    def _check_service(self, part: Source, name: str) -> None:
        sections, path = self._sections, ("services", name)
        if not re.fullmatch(SERVICE_NAME, name):
            message = "expected 1 to 64 letters, digits, '_', '.' or '-', beginning with a letter or digit"
            sections.add_problem(part, path, message, key=True)
        entry = part.tree["services"][name]
        section, rules = sections.check_with_rules(part, path, entry, ServiceSection)
        if isinstance(entry, dict | None) and "listen" not in (entry or {}) and not (entry or {}).get("tcpmux"):
            sections.add_problem(part, path, "the key 'listen' is missing", key=True)
        # The rest is checked from the values in the file, also if the section has problems.
        entry = entry if isinstance(entry, dict) else {}
        kind = self._find_type(part, path, entry.get("type"), name)
        code = None
        if kind and kind.options is PythonOptions:
            kind, code = self._inspect_code(part, path, entry, kind, self._limits(kind, section).line)
        if kind is None:
            return
        endpoints = self._check_endpoints(part, name, entry, kind)
        options = None
        if isinstance(given := entry.get("options"), dict | None):
            given = relayed(given or {}, endpoints, kind.options)
            options = sections.check(part, (*path, "options"), given, kind.options)
        own = rules or AccessRules()
        access = self._rules.add(own, lambda bound, number: sections.within(part, (*path, "access"), bound, number))
        if rules and access.asks_groups:
            self._refuse_groups(part, path, endpoints)
        if options is None:
            return
        limits = self._limits(kind, section)
        self._check_build(part, path, kind, options, limits)
        if section is None or rules is None:
            return
        parts = self._check_parts(part, path, kind, section, endpoints, options, self._rules.merged(rules))
        if parts is None:
            return
        tls, tls_files, banner_octets = parts
        networks = (limits.exempt, section.amplify, section.proxy_protocol.sources if section.proxy_protocol else ())
        sections.within(part, path, NETWORKS, sum(map(len, networks)))
        self.checked.append(
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

    def _limits(self, kind: ServiceType, section: ServiceSection | None) -> Limits:
        """The limits of a service; without a section, which has problems, those of ``defaults``."""
        base = merge(_BLOCKING, self._defaults.limits) if kind.blocks else self._defaults.limits
        return merge(base, section.limits) if section else base

    def _check_build(self, part: Source, path: Where, kind: ServiceType, options: Model, limits: Limits) -> None:
        """Check that the service can be built of its options."""
        try:
            kind.build(options, Context(line_limit=limits.line))
        except ValueError as error:
            for fault in faults_of(error):
                self._sections.add_problem(part, (*path, "options"), fault.message, fault.hint)
        except (Exception, SystemExit) as error:  # a class from another package may raise anything
            message = f"service type '{kind.name}' cannot be built: {error!r}"
            self._sections.add_problem(part, (*path, "options"), message)

    def _check_parts(
        self,
        part: Source,
        path: Where,
        kind: ServiceType,
        section: ServiceSection,
        endpoints: tuple[Endpoint, ...],
        options: Model,
        rules: AccessRules,
    ) -> tuple[TlsOptions, ServiceFiles | None, Banners] | None:
        """Check the parts of a section against each other. None: there are more certificates than netd takes."""
        sections = self._sections
        with_tls = any(endpoint.transport == "tls" for endpoint in endpoints)
        certificates = len(section.tls.certificate or self._defaults.tls.certificate) if with_tls else 0
        if not sections.within(part, path, CERTIFICATES, certificates):
            return None
        tls, tls_files, tls_findings = self._tls.read(self._defaults.tls, section, endpoints, options)
        banner_octets, banner_findings = banners.read(section, endpoints, options)
        found = [proxies.findings(section.proxy_protocol, endpoints, options), tls_findings, banner_findings]
        found += sensors.findings(endpoints, options), isolation_findings(kind, isolate=section.isolate)
        sections.within(part, (*path, "isolate"), ISOLATED, int(section.isolate))
        pairs = self._multiplexing.add(part, path, kind, section, endpoints, options, rules, tls)
        found += pairs, certificate_findings(rules, endpoints, tls)
        if isinstance(options, ProgramOptions):
            found.append(programs.findings(programs.Service(kind, options, section, rules, endpoints, self._daemon)))
        if isinstance(options, ForwardOptions):
            tls_files, to_tls = forward_tls.read(options, tls_files, self._daemon, enabled=section.enabled)
            found += [forwards.findings(endpoints, options), to_tls]
            self._targets += forwards.places(part, path, options) if section.enabled else ()
        sections.add_findings(part, path, itertools.chain(*found))
        return tls, tls_files, banner_octets

    def _refuse_groups(self, part: Source, path: Where, endpoints: tuple[Endpoint, ...]) -> None:
        """Refuse gid rules for UNIX datagrams: the kernel reports the user of a sender, but only one of its groups."""
        for number, endpoint in enumerate(endpoints):
            if endpoint.transport == "unixgram":
                self._sections.add_problem(part, (*path, "listen", number), NO_GROUPS)

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
        self._sections.add_problem(part, where, message, hint, key=given is None)
        return None

    def _inspect_code(
        self, part: Source, path: Where, entry: dict[str, Any], kind: ServiceType, line_limit: int
    ) -> tuple[ServiceType | None, Code | None]:
        """How the code of a `python` service is served; None after its problems were added."""
        given, enabled = entry.get("options") or {}, entry.get("enabled", True) is True
        options = (
            self._sections.check(part, (*path, "options"), given, PythonOptions) if isinstance(given, dict) else None
        )
        if options is None:
            return None, None
        found = code_of.inspect(kind, options, line_limit, self._daemon, enabled=enabled)
        self._sections.add_findings(part, path, found.findings)
        return found.kind, found.code

    def _check_endpoints(
        self, part: Source, name: str, entry: dict[str, Any], kind: ServiceType
    ) -> tuple[Endpoint, ...]:
        sections, endpoints = self._sections, []
        for number, text in enumerate(given if isinstance(given := entry.get("listen"), list) else []):
            try:
                endpoint = Endpoint.parse(text)
            except ValueError:
                continue  # a problem of the section already
            path = ("services", name, "listen", number)
            if not sections.within(part, path, LISTENERS):
                break
            if endpoint.transport != "systemd" and not (kind.streams if endpoint.streams else kind.datagrams):
                can = "streams (tcp, tls, unix)" if kind.streams else "datagrams (udp, unixgram)"
                what = "its options.class" if kind.options is PythonOptions else f"service type '{kind.name}'"
                sections.add_problem(part, path, f"{what} serves {can} only")
            if not kind.listens and workers.answers_astray(self._daemon, endpoint):
                sections.add_problem(
                    part, path, "daemon.chroot hides the sockets of clients; listen on unixgram://@NAME"
                )
            if entry.get("enabled", True) is True and (taken := self._addresses.claim(endpoint, name, part.mark(path))):
                sections.add_problem(part, path, taken)  # a disabled one may be an alternative to an enabled one
            endpoints.append(replace(endpoint, place=str(part.mark(path)), number=number))
        return tuple(endpoints)
