"""What a config holds. No input or output here, and nothing that runs.

`Config` is what the rest of netd works with. What stands in the file differs a little (limits are layered, options
depend on the type), so the loader checks the file's sections one by one, with the models ending in ``Section``, and
puts the result together.
"""

import re
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator

from netd.admission.access import AccessRules
from netd.admission.access_memory import AccessPlace, AccessTables
from netd.admission.bans import BanRules
from netd.admission.limits import Limits
from netd.admission.policy import Policy
from netd.endpoints import Endpoint
from netd.shared.memory import MOST_WORKERS
from netd.telemetry.logs import Format, Level
from netd.telemetry.service_events import AccessLog
from netd.text import shown
from netd.values import Count, Duration, Model

SERVICE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


def _endpoint(value: object) -> Endpoint:
    return Endpoint.parse(value)


def _listen(value: object) -> tuple[Any, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"expected a list of URLs such as [tcp://*:7, udp://*:7], got {shown(value)}")
    return tuple(value)


EndpointUrl = Annotated[
    Endpoint,
    BeforeValidator(_endpoint),
    WithJsonSchema(
        {"type": "string", "pattern": r"^(tcp|udp)://[^ ]+:\d{1,5}(\?.*)?$|^unix(gram)?://[/@].+$|^systemd://.+$"}
    ),
]


def _workers(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_WORKERS:
        return value
    raise ValueError(f"expected a number from 1 to {MOST_WORKERS}, or auto, got {shown(value)}")


def _path(value: object) -> str:
    if isinstance(value, str) and PurePath(value).is_absolute() and "\0" not in value:
        return value
    raise ValueError(f"expected an absolute path, got {shown(value)}")


def _path_or_off(value: object) -> str | None:
    if value is False or value == "off":
        return None
    return "" if value == "" else _path(value)


Path = Annotated[str, BeforeValidator(_path), WithJsonSchema({"type": "string", "pattern": "^/"})]
PathOrOff = Annotated[
    str | None,
    BeforeValidator(_path_or_off),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^/"}, {"enum": ["off", False, ""]}]}),
]
Account = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?$")]


def _connections(value: object) -> AccessLog:
    if value is False:
        return "off"
    match value:
        case "all" | "summary" | "off":
            return value
        case str() if match := re.fullmatch(r"sample ([1-9]\d{0,8})", value, re.ASCII):
            return int(match[1])
    raise ValueError(f"expected all, summary, off, or one in so many such as 'sample 100', got {shown(value)}")


class DaemonSection(Model):
    """How the process runs."""

    workers: Annotated[
        int | Literal["auto"],
        BeforeValidator(_workers),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_WORKERS}, {"const": "auto"}]}),
    ] = 1
    """Processes that serve; one fills a processor core, auto is one for each core. One, since it serves more than a
    hundred thousand requests a second."""
    connections: Count = 16384
    """Connections of all services together at one time; they cost under 25 MB, and as many descriptors, which is less
    than systemd and most hosts give a service."""
    user: Account | None = None
    """The user (name or number) that workers become. Unset: started as root, `netd` where there is such a user, else
    `nobody`; started as anybody else, they stay who they are."""
    group: Account | None = None
    """The group (name or number) of the workers; unset, the one of `user`, with its supplementary groups."""
    chroot: Path | None = None
    """A directory that the workers have for their root (chroot(2)), for which netd has to be root. What services read
    while they run, such as time zones, has to be in it."""
    control: PathOrOff = ""
    """The path of the control socket, or off. Unset: $NETD_CONTROL, else control.sock in $RUNTIME_DIRECTORY (systemd),
    in /run/netd (root) or in $XDG_RUNTIME_DIR/netd."""
    control_group: Account | None = None
    """A group that may use the control socket too; unset, only root and the user who runs netd may."""
    pid_file: Path | None = None
    """A file for the process id, which keeps a second netd from starting with the same one. Unset, there is one only
    with --daemon: netd.pid beside the control socket's default place."""
    core: bool = False
    """Whether `netd run --daemon` may leave core files; off, since they hold what peers have sent."""
    heartbeat: Annotated[Duration, Field(ge=0.1, le=3600)] = 5.0
    """Each worker has to show this often that its loop turns, 100ms to 1h; one that does not, twice in a row, is ended
    and replaced. 5 s is longer than a busy host holds up a process, and costs no processor."""
    drain: Duration = 30.0
    """When netd stops, live conversations have this long to finish; 30 s ends before systemd's own patience of 90 s
    (TimeoutStopSec, systemd.service(5)) does."""


class LogSection(Model):
    """What is logged, where to, and in which form."""

    level: Level = "info"
    """The least important events to log: debug, info, warning, error or critical."""
    format: Format = "auto"
    """console (text for people), json (a JSON object a line), logfmt (key=value), journal (fields for journalctl), or
    auto: console on a terminal, journal where systemd has connected it, JSON elsewhere."""

    connections: Annotated[
        AccessLog,
        BeforeValidator(_connections),
        PlainSerializer(lambda which: f"sample {which}" if isinstance(which, int) else which, when_used="json"),
        WithJsonSchema(
            {"anyOf": [{"enum": ["all", "summary", "off", False]}, {"pattern": "^sample [1-9][0-9]{0,8}$"}]}
        ),
    ] = "all"
    """Which connections get a line when they end: all, one in so many (`sample 100`), summary (a sum of them once a
    minute), or off. All, since that is what people look for after the fact; one without a byte is a check, and gets its
    line at debug only."""
    file: Path | None = None
    """A file to append to; unset, standard error. SIGUSR1 opens it anew, for log rotation."""

    @model_validator(mode="after")
    def _one_place(self) -> "LogSection":
        if self.file and self.format == "journal":
            raise ValueError("file and format: journal exclude each other")
        return self


class DefaultsSection(Model):
    """What holds for every service that does not say otherwise."""

    access: AccessRules = AccessRules()
    limits: Limits = Limits()


class ServiceSection(Policy):
    """One service, under the name of your choice."""

    type: str | None = None
    """The service type; without it, the service's name is the type. `netd services` lists the types."""
    enabled: bool = True
    """Whether it runs. One that is switched off is checked all the same."""
    access: AccessRules = AccessRules()
    listen: Annotated[tuple[EndpointUrl, ...], BeforeValidator(_listen), Field(json_schema_extra={"minItems": 1})]
    """Where it listens: tcp://HOST:PORT, udp://HOST:PORT, unix:///PATH, unixgram:///PATH, unix://@ABSTRACT,
    or systemd://NAME for the sockets of that FileDescriptorName= (systemd.socket(5)). HOST is an address, a name, or *
    for all addresses of both families. Socket options follow as ?key=value&key=value."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The options of the service type; `netd services TYPE` explains them."""


class FileSection(Model):
    """The config of netd."""

    include: tuple[str, ...] = ()
    """Files with more services, relative to this one; * and ? match names. What they may hold is `services:`."""
    daemon: DaemonSection = DaemonSection()
    log: LogSection = LogSection()
    bans: BanRules = BanRules()
    defaults: DefaultsSection = DefaultsSection()
    services: dict[Annotated[str, Field(pattern=SERVICE_NAME)], ServiceSection] = Field(default_factory=dict)
    """The services, by name."""


class ServiceConfig(Model):
    """One checked service: access and limits are layered, options are those of its type."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    type: str
    enabled: bool
    listen: tuple[Endpoint, ...]
    access: AccessPlace
    """Who may talk to it."""
    policy: Policy
    options: Model
    given: dict[str, Any]
    """The options as they stand in the file, from which another process builds the same."""


class Config(Model):
    """A config in which no problem was found."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    source: str
    """The file it came from, as people may read it."""
    daemon: DaemonSection
    log: LogSection
    bans: BanRules
    services: tuple[ServiceConfig, ...]
    access_tables: AccessTables
    """The access rules of all services."""
    notices: tuple[str, ...] = ()
    """What the operator should know of it, a line each: keys that have another name now."""

    @property
    def enabled(self) -> tuple[ServiceConfig, ...]:
        """The services that run."""
        return tuple(service for service in self.services if service.enabled)
