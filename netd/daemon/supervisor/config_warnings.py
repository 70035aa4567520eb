"""Warnings about the config in force: risks that it permits, and limits that this process cannot provide."""

import resource
import sys

from netd.config.model import Config
from netd.daemon.supervisor.listeners import Listeners
from netd.services.forward.options import ForwardOptions
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.listener_events import ListenerEvents

_OWN_DESCRIPTORS = 64  # of a worker, besides connections and listeners


def warn(config: Config, listeners: Listeners, events: DaemonEvents) -> None:
    """Log a config without a service, UDP services without reply guard, targets that are not verified, and what exceeds
    a limit of this process.

    The limits are RLIMIT_NOFILE, and the number of sockets that the service manager stores for the next start.
    """
    if not config.enabled:
        events.no_service_enabled(config.source)
    udp = {one.listener.service for one in listeners if one.listener.transport == "udp"}
    for service in config.enabled:
        if service.name in udp and not service.policy.reply_guard:
            ListenerEvents(service.name).reply_guard_disabled()
        if isinstance(service.options, ForwardOptions) and service.options.has_unverified_targets:
            ListenerEvents(service.name).targets_unverified()
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = [service.policy.limits.connections or sys.maxsize for service in config.enabled]
    needed = min(config.daemon.connections or sys.maxsize, sum(limits))
    needed += 2 * sum(1 for _ in listeners) + _OWN_DESCRIPTORS
    if needed > limit != resource.RLIM_INFINITY:
        events.descriptors_limited(needed if needed < sys.maxsize else None, limit)
    if listeners.store_size and (left := listeners.not_stored()):
        events.store_limited(len(left), listeners.store_size)
