"""`netd explain`: the check that admits or refuses a peer.

It reads the shared memory to which the workers' admission writes, and sends no request to a worker.
"""

import time

from netd import accounts
from netd.addresses import parse_address, split_port
from netd.admission.addresses import source_of
from netd.admission.control import AdmissionControl, Check
from netd.admission.daemon import DaemonAdmission, DaemonBounds
from netd.admission.sensor import SensorControl
from netd.config.model import ServiceConfig
from netd.daemon.messages.from_worker import Visitor
from netd.daemon.supervisor.control import Answer, CommandError
from netd.daemon.supervisor.listeners import ListenerRecord, Listeners
from netd.daemon.supervisor.programs import is_listener
from netd.daemon.supervisor.sensors import Sensors
from netd.daemon.supervisor.socket_filters import SocketFilters
from netd.daemon.supervisor.state import State
from netd.errors import EXIT_USAGE
from netd.services.sensor import SensorOptions
from netd.services.table import find

_OF_A_LISTENER = ("bans", "access")
_BY_ITSELF = "listener: the program accepts or receives by itself, so of all checks only bans and access hold"
_SOME_PORT = 49152  # an ephemeral port (RFC 6335), for a peer without a port


class Explainer:
    """Answers `netd explain`."""

    def __init__(self, state: State, listeners: Listeners, filters: SocketFilters) -> None:
        self._state = state
        self._listeners = listeners
        self._filters = filters

    def explain(self, peer: str, where: str) -> Answer:
        """Whether ``peer`` is served at ``where`` (SERVICE/TRANSPORT) now, with every check and its reason.

        Raises `CommandError` for an unknown service, a transport it does not serve, or an invalid peer.
        """
        name, _, transport = where.partition("/")
        self._state.require(name)
        service = next(one for one in self._state.config.services if one.name == name)
        served = self._transports(service)
        if not served and service.policy.tcpmux and not self._state.stopping:
            raise CommandError(f"'{name}' has no listener, and no service of the type tcpmux is on")
        if not served:
            raise CommandError("netd is stopping")
        transport = transport or served[0]
        if transport not in served:
            raise CommandError(f"'{name}' serves {', '.join(served)}, not '{transport[:16]}'", EXIT_USAGE)
        checks = self._checks(service, peer, transport)
        if is_listener(service):
            guard = ", and not the reply guard" * (transport == "udp")
            held = [check for check in checks if check.name in _OF_A_LISTENER]
            checks = [Check("options.mode", passes=True, why=f"{_BY_ITSELF}{guard}"), *held]
        if not service.enabled:
            checks = [Check("enabled", passes=False, why="the service is disabled")]
        decisive = next((check for check in checks if not check.passes), None)
        shown = checks[: checks.index(decisive) + 1] if decisive else checks
        return {
            "from": peer,
            "to": f"{name}/{transport}",
            "served": decisive is None,
            "decided_by": decisive.name if decisive else None,
            "why": decisive.why if decisive else "all checks pass",
            "checks": [check._asdict() for check in shown],
        }

    def _checks(self, service: ServiceConfig, peer: str, transport: str) -> list[Check]:
        state = self._state
        now = time.monotonic()
        active = state.bans.active(now)
        held = self._held(service.name, transport) if is_listener(service) and service.enabled else active
        banned = {source: ban.until for source, ban in active.items() if source in held}
        ports = {one.listener.socket.getsockname()[1] for one in self._listeners if one.listener.transport == "udp"}
        shared = DaemonAdmission(state.daemon_limits, banned=banned, ports=ports)
        shared.apply(DaemonBounds(state.config.daemon.connections, state.config.daemon.threads), state.config.bans)
        access = service.access.read()
        control = SensorControl if isinstance(service.options, SensorOptions) else AdmissionControl
        admission = control(service.name, service.policy, access, state.table(service), shared, time.time)
        datagram = transport in ("udp", "unixgram")
        threads = _takes_threads(service, datagram=datagram)
        if transport in ("unix", "unixgram"):
            user, groups = _account(peer)
            return list(admission.explain_unix(user, groups, now, datagram=datagram, threads=threads))
        address, port = _address(peer)
        source = source_of(address)
        why = f" ({active[source].why})" if source in banned else ""
        if source in active and source not in banned:
            why = " here: the socket filter has no room for the ban, or cannot be attached"
        checks = admission.explain(address, port, now, datagram=datagram, threads=threads)
        found = [check._replace(why=check.why + why) if check.name == "bans" else check for check in checks]
        if isinstance(admission, SensorControl):
            seconds = Sensors(state.config).seconds(Visitor(address.hex(), service.name))
            bans = f"a connection bans it for {seconds:.0f} s" if seconds else "off, or it is in a proxy_protocol.from"
            exempt = admission.exempts(address)
            found.append(Check("options.ban", passes=True, why=f"{exempt}: exempt, not banned" if exempt else bans))
        return found

    def _held(self, service: str, transport: str) -> set[bytes]:
        """The banned sources that the socket filters at the listeners of a program discard."""
        return {
            source
            for one in self._listeners
            if one.listener.service == service and _scheme(one) == transport
            for source in self._filters.banned_at(one)
        }

    def _transports(self, service: ServiceConfig) -> list[str]:
        """The transports of a service: of its listeners, or those in the config if it is disabled.

        One that clients of tcpmux reach has those of the services of that type too.
        """
        services = [service]
        if service.policy.tcpmux:
            services += [one for one in self._state.config.enabled if (kind := find(one.type)) and kind.multiplexes]
        names = {one.name for one in services if one.enabled}
        open_ones = {_scheme(one) for one in self._listeners if one.listener.service in names}
        return sorted(
            open_ones.union(endpoint.transport for one in services if not one.enabled for endpoint in one.listen)
        )


def _takes_threads(service: ServiceConfig, *, datagram: bool) -> bool:
    """Whether each of its connections or datagrams takes a thread."""
    kind = service.code or find(service.type)
    return kind is not None and (kind.datagrams if datagram else kind.serving) == "thread"


def _scheme(one: ListenerRecord) -> str:
    """What the URL of a listener begins with: its transport, or tls."""
    return one.listener.url.partition("://")[0]


def _address(text: str) -> tuple[bytes, int]:
    """An address and port from ``192.0.2.7:5353``, ``[2001:db8::7]:5353``, or an address alone."""
    try:
        host, port = split_port(text)
        return parse_address(host), _SOME_PORT if port is None else port
    except ValueError as error:
        raise CommandError(str(error), EXIT_USAGE) from None


def _account(text: str) -> tuple[int, list[int]]:
    """The uid and the groups of ``uid:NAME``; for ``gid:NAME``, -1 and that group alone."""
    kind, _, name = text.partition(":")
    try:
        if kind == "uid":
            user = accounts.find_id("uid", name)
            return user, accounts.groups_of(user)
        if kind == "gid":
            return -1, [accounts.find_id("gid", name)]
    except ValueError as error:
        raise CommandError(str(error), EXIT_USAGE) from None
    raise CommandError("over a UNIX socket a peer is uid:NAME or gid:NAME", EXIT_USAGE)
