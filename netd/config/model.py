"""The models of a config, without input or output.

The rest of netd uses `Config`. The file differs a little (limits are merged, options depend on the type), so the loader
checks the sections of the file one by one, with the models ending in ``Section``, and builds a `Config` from them.
"""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, PlainSerializer, WithJsonSchema, model_validator

from netd.admission.access import AccessRules
from netd.admission.access_memory import AccessPlace, AccessTables
from netd.admission.banner import NO_BANNERS, Banners
from netd.admission.bans import BanRules
from netd.admission.daemon import MOST_THREADS
from netd.admission.limits import Limits
from netd.admission.policy import Policy
from netd.config.problems import Problem
from netd.endpoints import Endpoint
from netd.errors import InvalidValueError
from netd.notation import Notation
from netd.services.service_type import Datagrams, Serving
from netd.shared.memory import MOST_WORKERS
from netd.telemetry.logs import Format, Level
from netd.telemetry.service_events import ConnectionLog
from netd.telemetry.syslog import Facility
from netd.text import shown
from netd.tls.options import TlsOptions
from netd.tls.service_files import ServiceFiles
from netd.values import Account, Count, Duration, Model, Path, list_hint, number_hint, parse_path

SERVICE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


def _endpoint(value: object) -> Endpoint:
    return Endpoint.parse(value)


def _listen(value: object) -> tuple[Any, ...]:
    if not isinstance(value, list) or not value:
        message = f"expected a list of URLs such as [tcp://*:7, udp://*:7], got {shown(value)}"
        raise InvalidValueError(message, list_hint(value))
    return tuple(value)


EndpointUrl = Annotated[
    Endpoint,
    BeforeValidator(_endpoint),
    WithJsonSchema(
        {"type": "string", "pattern": r"^(tcp|tls|udp)://[^ ]+:\d{1,5}(\?.*)?$|^unix(gram)?://[/@].+$|^systemd://.+$"}
    ),
    Notation("URL"),
]


def _workers(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_WORKERS:
        return value
    raise InvalidValueError(
        f"expected a number from 1 to {MOST_WORKERS}, or auto, got {shown(value)}", number_hint(value)
    )


def _path_or_off(value: object) -> str | None:
    if value is False or value == "off":
        return None
    return "" if value == "" else parse_path(value)


SYSLOG: Final = "syslog"
"""The value of `log.file` for the syslogd of this host."""


def _log_file(value: object) -> str:
    if value == SYSLOG:
        return SYSLOG
    try:
        return parse_path(value)
    except ValueError:
        raise ValueError(f"expected an absolute path, or syslog, got {shown(value)}") from None


LogFile = Annotated[
    str,
    BeforeValidator(_log_file),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^/"}, {"const": SYSLOG}]}),
    Notation("path or `syslog`"),
]
PathOrOff = Annotated[
    str | None,
    BeforeValidator(_path_or_off),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^/"}, {"enum": ["off", False, ""]}]}),
    Notation("path or `off`"),
]


def _connections(value: object) -> ConnectionLog:
    if value is False:
        return "off"
    match value:
        case "all" | "debug" | "summary" | "off":
            return value
        case str() if match := re.fullmatch(r"sample ([1-9]\d{0,8})", value, re.ASCII):
            return int(match[1])
    raise ValueError(f"expected all, debug, summary, off, or a sample such as 'sample 100', got {shown(value)}")


LoggedConnections = Annotated[
    ConnectionLog,
    BeforeValidator(_connections),
    PlainSerializer(lambda which: f"sample {which}" if isinstance(which, int) else which, when_used="json"),
    WithJsonSchema(
        {"anyOf": [{"enum": ["all", "debug", "summary", "off", False]}, {"pattern": "^sample [1-9][0-9]{0,8}$"}]}
    ),
    Notation("`all`, `debug`, `summary`, `off`, or `sample NUMBER`"),
]


class DaemonSection(Model):
    """The processes of the daemon and its files."""

    workers: Annotated[
        int | Literal["auto"],
        BeforeValidator(_workers),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_WORKERS}, {"const": "auto"}]}),
        Notation(f"number from 1 to {MOST_WORKERS}, or `auto`"),
    ] = 1
    """The number of worker processes; auto: one for each processor core. One, since a worker serves more than a hundred
    thousand requests a second."""
    connections: Count = 16384
    """The most concurrent connections of all services. So many take less than 25 MB, and as many descriptors, which is
    less than the limit of systemd and most hosts (RLIMIT_NOFILE)."""
    threads: Annotated[int, Field(ge=1, le=4096)] = MOST_THREADS
    """The most threads of handlers that block at one time, of all services and in all workers, 1 to 4096;
    `limits.threads` bounds those of one service. 512 take less than 25 MB."""
    user: Account | None = None
    """The user (name or number) of the workers. Unset: if netd is started as root, `netd` if that user exists, else
    `nobody`; if not, the user that starts netd."""
    group: Account | None = None
    """The group (name or number) of the workers. Unset: the groups of `user`."""
    chroot: Path | None = None
    """The root directory of the workers (chroot(2)), which requires that netd is started as root. Files that services
    read while they run, such as time zones, have to be in it."""
    control: PathOrOff = ""
    """The path of the control socket, or off. Unset: $NETD_CONTROL, else control.sock in $RUNTIME_DIRECTORY (systemd),
    in /run/netd (root) or in $XDG_RUNTIME_DIR/netd."""
    control_group: Account | None = None
    """A group that may use the control socket too. Unset: only root and the user of netd may."""
    pid_file: Path | None = None
    """A file for the process id; a second netd with the same file does not start. Unset: none, but with --daemon
    netd.pid in the directory of the control socket's default path."""
    core: bool = False
    """Whether netd may write core files; off, since they contain data of peers. Off also keeps programs of netd's own
    user from reading its memory and its descriptors (PR_SET_DUMPABLE, prctl(2))."""
    heartbeat: Annotated[Duration, Field(ge=0.1, le=3600)] = 5.0
    """The interval of heartbeats to each worker, 100ms to 1h. A worker that misses two in a row is killed and replaced.
    5 s is longer than a busy host delays a process, and takes no processor time."""
    drain: Duration = 30.0
    """How long open connections may continue when netd stops; 30 s is within the 90 s after which systemd kills a
    service (TimeoutStopSec, systemd.service(5))."""
    on_stop: Literal["drain", "leave", "kill"] = "drain"
    """What a stop, and so a restart, does to programs of `exec` services: drain (they have `drain` to end by
    themselves, then their stop signal), kill (their stop signal at once), or leave (they go on after netd, as with
    xinetd and sshd; under systemd this needs KillMode=process and a permanent user). Programs that have a listening
    socket are always ended, since the next netd needs the port."""


class LogSection(Model):
    """The log: its level, format and destination."""

    level: Level = "info"
    """The lowest level of events to log: debug, info, warning, error or critical."""
    format: Format = "auto"
    """console (readable text), json (a JSON object a line), logfmt (key=value), journal (fields for journalctl), or
    auto: console on a terminal, journal if standard error is connected to systemd's journal, logfmt to the syslogd,
    else json."""

    connections: LoggedConnections = "all"
    """Which connections are logged when they end: all, all at debug (`debug`), one in so many (`sample 100`), summary
    (totals once a minute), or off. All, since each may be of interest later. A connection without data, such as a load
    balancer's check, is logged at debug only. `log_connections` of a service overrides it."""
    file: LogFile | None = None
    """A file to append to, or syslog: the syslogd of this host (/dev/log), in logfmt or JSON. Unset: standard error, or
    syslog with `netd run --daemon`, which has none. SIGUSR1 reopens it, for log rotation."""
    facility: Facility = "daemon"
    """The facility of messages to the syslogd: user, daemon, auth, authpriv, or local0 to local7 (syslog(3)). daemon,
    since netd is one."""

    @model_validator(mode="after")
    def _one_place(self) -> "LogSection":
        if self.file and self.format == "journal":
            raise ValueError("file and format: journal are mutually exclusive")
        if self.file == SYSLOG and self.format == "console":
            raise ValueError("file: syslog and format: console are mutually exclusive; syslog is logfmt or json")
        return self


class DefaultsSection(Model):
    """Defaults for all services."""

    access: AccessRules = AccessRules()
    limits: Limits = Limits()
    tls: TlsOptions = TlsOptions()


class ServiceSection(Policy):
    """One service, under a name of your choice."""

    type: str | None = None
    """The service type. Unset: the name of the service. `netd services` lists the types."""
    enabled: bool = True
    """Whether the service runs. The config of a disabled service is checked too."""
    access: AccessRules = AccessRules()
    """The peers that it serves, and when. Keys that are not set here have the values of `defaults.access`."""
    listen: Annotated[tuple[EndpointUrl, ...], BeforeValidator(_listen), Field(json_schema_extra={"minItems": 1})] = ()
    """The URLs to listen on: tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT, unix:///PATH, unixgram:///PATH, unix://@ABSTRACT,
    or systemd://NAME for sockets with this FileDescriptorName= (systemd.socket(5)). HOST is an address, a name, or *
    for all addresses of both families. Socket options follow as ?key=value&key=value."""
    isolate: bool = False
    """Whether a worker of its own serves it, and no other runs its code; only of `type: python`. So code that hangs,
    crashes or uses up the processor delays and ends the connections of its own service alone. Off, since each worker
    is a process, with some 10 MB of its own."""
    log_connections: LoggedConnections | None = None
    """Which of its connections are logged when they end, as `log.connections` says for all services. Unset: as that
    says, but debug for `metrics`, since its clients ask again and again."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The options of the service type; `netd services TYPE` explains them."""


class FileSection(Model):
    """The config of netd."""

    include: tuple[str, ...] = ()
    """Files with more services, relative to this one; * and ? match names. They may contain only `services:`."""
    daemon: DaemonSection = DaemonSection()
    log: LogSection = LogSection()
    bans: BanRules = BanRules()
    defaults: DefaultsSection = DefaultsSection()
    services: dict[Annotated[str, Field(pattern=SERVICE_NAME)], ServiceSection] = Field(default_factory=dict)
    """The services, by name."""


class Code(Model):
    """The code of a service of the type `python`, as the check of the config has found it."""

    text: str
    """The text of its file; empty for a module."""
    serving: Serving | None
    """How its class serves streams; None: it serves none."""
    datagrams: Datagrams | None
    """How its class answers datagrams; None: it answers none."""


class ServiceConfig(Model):
    """A checked service: access and limits are merged with the defaults, options are those of its type."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    type: str
    enabled: bool
    listen: tuple[Endpoint, ...]
    access: AccessPlace
    """Its access rules."""
    policy: Policy
    banners: Banners = NO_BANNERS
    """The octets of `policy.banner`."""
    isolate: bool = False
    log_connections: ConnectionLog | None = None
    """None: as `LogSection.connections` says."""
    options: Model
    given: dict[str, Any]
    """The options as in the file, from which another process builds the same ones."""
    tls_files: ServiceFiles | None = None
    """The content of the files that `tls` names; None: it has no endpoint with TLS."""
    code: Code | None = None
    """What the type `python` serves; None for other types."""


class Config(Model):
    """A checked config."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    source: str
    """The path of its file."""
    daemon: DaemonSection
    log: LogSection
    bans: BanRules
    services: tuple[ServiceConfig, ...]
    access_tables: AccessTables
    """The access rules of all services."""
    notices: tuple[InstanceOf[Problem], ...] = ()
    """Notices for the operator: keys that were renamed, and risks of programs."""
    origins: tuple[bytes, ...] = ()
    """What its files say, and in which lines (`netd.config.origins`): one text for each file, the main one first."""
    places: dict[str, str] = Field(default_factory=dict)
    """Where the keys of `daemon` and `log` stand, as FILE:LINE:COLUMN by ``daemon.user`` and the like; only in the
    process that has read the file."""

    @property
    def enabled(self) -> tuple[ServiceConfig, ...]:
        """The services that are enabled."""
        return tuple(service for service in self.services if service.enabled)
