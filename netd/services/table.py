"""The table of service types, and what can be said of one without running it."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from inspect import cleandoc

from netd.conversation import BlockingService, Context, DatagramService, StreamService
from netd.services.answers import QuoteOfTheDay, Reply, WhoAmI
from netd.services.chat import Chat
from netd.services.clock import Daytime, Time
from netd.services.metrics import Metrics
from netd.services.pingpong import PingPong
from netd.services.simple import Chargen, Discard, Echo, Upper
from netd.settings import Model

BUILT_IN: dict[str, type] = {
    "chargen": Chargen,
    "chat": Chat,
    "daytime": Daytime,
    "discard": Discard,
    "echo": Echo,
    "metrics": Metrics,
    "pingpong": PingPong,
    "qotd": QuoteOfTheDay,
    "reply": Reply,
    "time": Time,
    "upper": Upper,
    "whoami": WhoAmI,
}

Service = StreamService | DatagramService | BlockingService

ENTRY_POINT_GROUP = "netd.services"


class NoOptions(Model):
    """The options of a service type that has none."""


@dataclass(frozen=True)
class ServiceType:
    """A service class under the name the config uses for it."""

    name: str
    service: type

    @property
    def summary(self) -> str:
        """The first paragraph of the class's docstring."""
        return " ".join(cleandoc(self.service.__doc__ or "").partition("\n\n")[0].split())

    @property
    def rfc(self) -> int | None:
        return getattr(self.service, "rfc", None)

    @property
    def streams(self) -> bool:
        """Whether it serves TCP and UNIX streams."""
        return issubclass(self.service, StreamService | BlockingService)

    @property
    def datagrams(self) -> bool:
        """Whether it serves UDP and UNIX datagrams."""
        return issubclass(self.service, DatagramService)

    @property
    def blocks(self) -> bool:
        """Whether each of its connections takes a thread."""
        return issubclass(self.service, BlockingService)

    @property
    def options(self) -> type[Model]:
        return getattr(self.service, "Options", NoOptions)

    def build(self, options: Model, context: Context) -> "Service":
        """The service, ready to answer. Whatever the class does not like about the options it says by ValueError."""
        built: Service
        built = self.service(options, context) if hasattr(self.service, "Options") else self.service()
        return built


def names() -> list[str]:
    """Every service type there is, built in or from other packages."""
    return sorted({*BUILT_IN, *(entry.name for entry in _offered())})


@cache
def _offered() -> EntryPoints:
    """What other packages offer. Looking through all that is installed takes a while, and once will do."""
    return entry_points(group=ENTRY_POINT_GROUP)


def find(name: str) -> ServiceType | None:
    """The service type of that name, or None; ValueError where a package offers one that cannot be used.

    A built-in one cannot be replaced: its name has to mean the same on every host.
    """
    if name in BUILT_IN:
        return ServiceType(name, BUILT_IN[name])
    for entry in _offered().select(name=name):
        try:
            service = entry.load()
        except (Exception, SystemExit) as error:  # somebody else's module may do anything while it is imported
            raise ValueError(f"service type '{name}' ({entry.value}) cannot be loaded: {error!r}") from error
        if not isinstance(service, type) or not issubclass(service, Service):
            raise ValueError(f"service type '{name}' ({entry.value}) is not a class with stream, datagram or handler")
        options = getattr(service, "Options", NoOptions)
        if not isinstance(options, type) or not issubclass(options, Model):
            raise ValueError(f"service type '{name}' ({entry.value}): its Options are not a netd.settings.Model")
        return ServiceType(name, service)
    return None
