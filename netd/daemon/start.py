"""The start of netd: a supervisor, and the functions that its workers and launchers run. No other file imports all."""

import gc
from collections.abc import Callable

from netd import privileges
from netd.config.model import Config
from netd.daemon import resource_limits
from netd.daemon.launcher.launcher import launch
from netd.daemon.messages import from_supervisor, to_launcher
from netd.daemon.messages.coding import validator
from netd.daemon.supervisor.supervisor import supervise
from netd.daemon.worker.worker import work
from netd.services.exec.options import ProgramOptions
from netd.telemetry.sink import Sink
from netd.transport.listener import Listener


def start(config: Config, load: Callable[[], Config], sink: Sink, ready: Callable[[list[Listener]], None]) -> int:
    """Serve a checked config until netd is stopped. Returns the exit code. The parameters are those of `supervise`."""
    resource_limits.open_oom_score()
    make_validators(config)
    if not config.daemon.core:
        privileges.close_to_others()
    # A collection would write to all objects that are there now, and the processes would no longer share their memory.
    gc.freeze()
    gc.enable()
    return supervise(config, load, sink, ready, work, launch)


def make_validators(config: Config) -> None:
    """Make the validators of messages that are sent at the start and the stop.

    Before the first fork, so that they are shared, and so that a stop takes no memory.
    """
    starts_programs = any(isinstance(service.options, ProgramOptions) for service in config.enabled)
    for message in (*from_supervisor.AT_START, *(to_launcher.AT_START if starts_programs else ())):
        validator(message)
