"""What is checked of a sensor."""

from collections.abc import Iterator

from netd.config.problems import Finding
from netd.endpoints import Endpoint
from netd.services.sensor import SensorOptions
from netd.values import Model

_NO_ADDRESS = "a sensor bans addresses, and peers over UNIX have none"


def findings(listen: tuple[Endpoint, ...], options: Model) -> Iterator[Finding]:
    """The problems of a service with these endpoints and options, if it is a sensor."""
    if isinstance(options, SensorOptions):
        for number, endpoint in enumerate(listen):
            if endpoint.transport == "unix":
                yield Finding(("listen", number), _NO_ADDRESS)
