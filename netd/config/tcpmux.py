"""What is checked of tcpmux: that each service with the key can be named, and that one of its type listens."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from netd.admission.access import AccessRules
from netd.config.model import ServiceSection
from netd.config.problems import Finding, Problem, Where
from netd.config.source import Source
from netd.endpoints import Endpoint
from netd.services.service_type import ServiceType
from netd.tls.options import TlsOptions
from netd.values import Model

_NO_LISTENER = "no service of the type tcpmux that is on passes connections on to it"
_RELAY = "set the option relay: true"


@dataclass(frozen=True)
class _Service:
    part: Source
    path: Where
    name: str
    kind: ServiceType
    section: ServiceSection
    listen: tuple[Endpoint, ...]
    options: Model
    rules: AccessRules
    tls: TlsOptions


@dataclass
class Multiplexing:
    """The services of a config that have to do with tcpmux."""

    _services: list[_Service] = field(default_factory=list)

    def add(
        self,
        part: Source,
        path: Where,
        kind: ServiceType,
        section: ServiceSection,
        listen: tuple[Endpoint, ...],
        options: Model,
        rules: AccessRules,
        tls: TlsOptions,
    ) -> list[Finding]:
        """Take a service. Returns what is wrong with it alone."""
        if section.tcpmux or kind.multiplexes:
            name = (section.tcpmux and section.tcpmux.name) or str(path[-1])
            self._services.append(_Service(part, path, name, kind, section, listen, options, rules, tls))
        return [*_of_service(kind, section, options)] if section.tcpmux else []

    def check(self, problems: list[Problem], notices: list[Problem]) -> None:
        """Append what is wrong with the services together."""
        on = [one for one in self._services if one.section.enabled]
        muxes = [one for one in on if one.kind.multiplexes]
        seen: dict[str, _Service] = {}
        for one in on:
            if one.section.tcpmux is None:
                continue
            where = (*one.path, "tcpmux")
            first = seen.setdefault(one.name.lower(), one)
            if first is not one:
                text = f"{'.'.join(map(str, first.path))} has the name {one.name} too"
                problems.append(_problem(one, where, text))
            if not muxes:
                notices.append(_problem(one, where, _NO_LISTENER))
            if muxes and not one.listen:
                problems += (_problem(one, *found) for found in _of_certificates(one, muxes))
            problems += (_problem(one, where, text, _RELAY) for mux in muxes for text in _of_pair(one, mux))


def _of_service(kind: ServiceType, section: ServiceSection, options: Model) -> Iterator[Finding]:
    if kind.serving in (None, "multiplex"):
        what = "passes connections on itself" if kind.serving else "serves no connections"
        yield Finding(("tcpmux",), f"service type '{kind.name}' {what}")
    if getattr(options, "mode", None) == "listener":
        yield Finding(("tcpmux",), "mode: listener: the program accepts by itself, so nothing can be passed on to it")
    if section.isolate:
        yield Finding(
            ("tcpmux",), "isolate: a worker of its own serves it, and tcpmux passes connections on in another"
        )
    if section.proxy_protocol:
        message = "a header of the PROXY protocol comes before the line of tcpmux, so it is read there"
        yield Finding(("tcpmux",), message, "set proxy_protocol of the service of the type tcpmux instead")


def _of_certificates(one: _Service, muxes: list[_Service]) -> Iterator[tuple[Where, str, str]]:
    """Why the certificate rules of a service that tcpmux alone leads to cannot hold."""
    found = next((number for number, entry in enumerate(one.rules.allow) if entry.certificate), None)
    if found is None or any(mux.tls.client != "none" and mux.tls.client_ca for mux in muxes):
        return
    message = (
        f"{one.rules.allow[found].text} needs clients with certificates, for which {muxes[0].path[-1]} does not ask"
    )
    yield (*one.path, "access", "allow", found), message, "set tls.client_ca and tls.client there, and listen on tls://"


def _of_pair(one: _Service, mux: _Service) -> Iterator[str]:
    """What a program that gets the connection itself cannot have."""
    if one.kind.serving != "program" or getattr(one.options, "relay", True):
        return
    name = mux.path[-1]
    if mux.section.proxy_protocol:
        yield f"behind the proxies of {name} the program would take a proxy for its peer"
    if any(endpoint.transport == "tls" for endpoint in mux.listen):
        yield f"behind the TLS of {name} a program gets a socket pair, and not the connection"


def _problem(one: _Service, where: Where, message: str, hint: str = "") -> Problem:
    return Problem(one.part.mark(where), where, message, hint)
