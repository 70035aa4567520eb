"""The events of a sensor."""

from netd.telemetry.throttle import ThrottledLog


class SensorEvents(ThrottledLog):
    """Those of one sensor, with its name as ``service``."""

    def visitor_spared(self, source: str, rule: str) -> None:
        """A source has connected to a sensor, which does not ban it, since `bans.exempt` or its own `limits.exempt`
        lists it; loopback is listed by default.
        """
        self._log_throttled("spared", source, 1, "warning", "visitor_spared", source=source, by=rule)
