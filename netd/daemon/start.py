"""The start of netd: a supervisor, and the functions that its workers and launchers run. No other file imports all."""

from collections.abc import Callable

from netd.config.model import Config
from netd.daemon import privileges, resource_limits
from netd.daemon.launcher.launcher import launch
from netd.daemon.supervisor.supervisor import supervise
from netd.daemon.worker.worker import work
from netd.telemetry.sink import Sink
from netd.transport.listen import Listener


def start(config: Config, load: Callable[[], Config], sink: Sink, ready: Callable[[list[Listener]], None]) -> int:
    """Serve a checked config until netd is stopped. Returns the exit code. The parameters are those of `supervise`."""
    resource_limits.open_oom_score()
    if not config.daemon.core:
        privileges.close_to_others()
    return supervise(config, load, sink, ready, work, launch)
