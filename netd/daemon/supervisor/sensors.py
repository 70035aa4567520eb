"""What a config says of its sensors: for how long each bans a visitor, and which addresses none of them bans."""

from netd.admission.bans import exemption
from netd.config.model import Config
from netd.daemon.messages.from_worker import Visitor
from netd.services.sensor import SensorOptions


class Sensors:
    """The sensors of a config."""

    def __init__(self, config: Config) -> None:
        self.config = config
        services = config.enabled
        self._seconds = {one.name: one.options.ban for one in services if isinstance(one.options, SensorOptions)}
        proxies = [one.policy.proxy_protocol for one in services if one.policy.proxy_protocol]
        # A proxy brings the peers of others: it is not what these do.
        self._proxies = exemption(tuple(source for one in proxies for source in one.sources))

    def seconds(self, visitor: Visitor) -> float | None:
        """For how long the visitor is banned; None: it is not, as for what a faulty worker reports."""
        if self._proxies.find(bytes.fromhex(visitor.address)) is not None:
            return None
        return self._seconds.get(visitor.service)
