"""What a config holds. No input or output here, and nothing that runs.

`Config` is what the rest of netd works with. What stands in the file differs a little (limits are layered, options
depend on the type), so the loader checks the file's sections one by one, with the models ending in ``Section``, and
puts the result together.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from netd.admission.limits import Limits
from netd.endpoints import Endpoint
from netd.settings import Duration, Model, shown
from netd.telemetry.logs import Format, Level

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
    WithJsonSchema({"type": "string", "pattern": r"^(tcp|udp)://[^ ]+:\d{1,5}(\?.*)?$|^unix(gram)?://[/@].+$"}),
]


class DaemonSection(Model):
    """How the process runs."""

    drain: Duration = 30.0
    """When netd stops, live conversations have this long to finish; 30 s ends before systemd's own patience of 90 s
    (TimeoutStopSec, systemd.service(5)) does."""


class LogSection(Model):
    """What is logged, and in which form. Logs go to standard error."""

    level: Level = "info"
    """The least important events to log: debug, info, warning, error or critical."""
    format: Format = "auto"
    """console (text for people), json (a JSON object a line), or auto: console on a terminal, JSON elsewhere."""


class DefaultsSection(Model):
    """What holds for every service that does not say otherwise."""

    limits: Limits = Limits()


class ServiceSection(Model):
    """One service, under the name of your choice."""

    type: str | None = None
    """The service type; without it, the service's name is the type. `netd services` lists the types."""
    enabled: bool = True
    """Whether it runs. One that is switched off is checked all the same."""
    listen: Annotated[tuple[EndpointUrl, ...], BeforeValidator(_listen), Field(json_schema_extra={"minItems": 1})]
    """Where it listens: tcp://HOST:PORT, udp://HOST:PORT, unix:///PATH, unixgram:///PATH, unix://@ABSTRACT. HOST is an
    address, a name, or * for all addresses of both families. Socket options follow as ?key=value&key=value."""
    limits: Limits = Limits()
    options: dict[str, Any] = Field(default_factory=dict)
    """The options of the service type; `netd services TYPE` explains them."""


class FileSection(Model):
    """The config of netd."""

    include: tuple[str, ...] = ()
    """Files with more services, relative to this one; * and ? match names. What they may hold is `services:`."""
    daemon: DaemonSection = DaemonSection()
    log: LogSection = LogSection()
    defaults: DefaultsSection = DefaultsSection()
    services: dict[Annotated[str, Field(pattern=SERVICE_NAME)], ServiceSection] = Field(default_factory=dict)
    """The services, by name."""


class ServiceConfig(Model):
    """One checked service: limits are layered, options are those of its type."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    type: str
    enabled: bool
    listen: tuple[Endpoint, ...]
    limits: Limits
    options: Model


class Config(Model):
    """A config in which no problem was found."""

    source: str
    """The file it came from, as people may read it."""
    daemon: DaemonSection
    log: LogSection
    services: tuple[ServiceConfig, ...]

    @property
    def enabled(self) -> tuple[ServiceConfig, ...]:
        """The services that run."""
        return tuple(service for service in self.services if service.enabled)
