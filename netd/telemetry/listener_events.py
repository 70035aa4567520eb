"""The events of a service's listeners, in the process that opens them: log lines without counters."""

from netd.telemetry.throttle import ThrottledLog


class ListenerEvents(ThrottledLog):
    """The events of the listeners of one service."""

    def __init__(self, service: str) -> None:
        super().__init__(service=service)

    def listening(self, endpoint: str) -> None:
        """A service listens on ``endpoint``."""
        self._log.info("listening", endpoint=endpoint)

    def address_skipped(self, endpoint: str, error: str) -> None:
        """One of the addresses of the name in an endpoint is not on this host, and is left out."""
        self._log.warning("address_skipped", endpoint=endpoint, error=error)

    def options_failed(self, endpoint: str, error: str) -> None:
        """The socket options of a new config cannot be set on an open socket, which serves as before."""
        self._log.error("options_failed", endpoint=endpoint, error=error)

    def reply_guard_disabled(self) -> None:
        """The config has `reply_guard: false` for a service over UDP: forged datagrams direct its answers at others."""
        self._log.warning("reply_guard_disabled", advice="forged source addresses can direct answers at other hosts")

    def targets_unverified(self) -> None:
        """A service forwards over TLS and verifies no certificate (`to_tls.verify`)."""
        self._log.warning("targets_unverified", advice="any host on the way can read and change what is sent")

    def filter_refused(self, endpoint: str) -> None:
        """A program has this TCP listener, and netd no right to attach a filter to it: bans do not hold there."""
        self._log.warning("filter_refused", endpoint=endpoint, advice="give netd CAP_NET_ADMIN (capabilities(7))")

    def filter_limited(self, number: int, limit: int) -> None:
        """A socket filter has room for ``limit`` bans. The others, which end first, do not hold at its listeners."""
        advice = "a socket filter has no room for more; maybe raise the sysctl net.core.optmem_max"
        self._log.warning("filter_limited", number=number, limit=limit, advice=advice)

    def filter_failed(self, endpoint: str, error: str) -> None:
        """The socket filter with address rules and bans cannot be exchanged, or removed. The socket has the old one."""
        advice = "its program may have locked it: netd disable and netd enable open a new socket"
        self._log.error("filter_failed", endpoint=endpoint, error=error, advice=advice)
