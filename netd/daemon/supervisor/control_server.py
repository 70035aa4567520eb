"""Opens the control socket, and serves it: a service as any other, in the supervisor's own loop."""

import os
import time
from collections.abc import Callable

from netd import default_paths, paths
from netd.accounts import find_id
from netd.admission.access import AccessRules
from netd.admission.access_table import Access
from netd.admission.control import AdmissionControl
from netd.admission.daemon import DaemonAdmission
from netd.admission.limits import Limits
from netd.admission.policy import Policy
from netd.config.model import DaemonSection
from netd.daemon.supervisor.control import Control
from netd.endpoints import LONGEST_PATH, Endpoint, SocketOptions
from netd.errors import ControlTakenError, OpenError
from netd.services.service_type import ServiceType
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.service_events import ServiceEvents
from netd.transport.advice import CONTROL_GROUP_DROP_IN, advice
from netd.transport.listen import open_listeners
from netd.transport.listener import Listener
from netd.transport.loop import Loop
from netd.transport.stream.server import StreamServer

# A client of the control socket is the operator, or a faulty program.
_POLICY = Policy(limits=Limits.model_construct(connections=256, idle=10.0))


def open_control(
    daemon: DaemonSection, service: Callable[[int | None], Control], events: DaemonEvents, loop: Loop
) -> tuple[StreamServer, Listener] | None:
    """Open the control socket and serve it. None: there is none, as the config says or since its default path fails.

    ``service`` makes the service; its argument is the group that may use it too. Raises `OpenError` for a path that the
    config names, or that another netd has.
    """
    path = default_paths.control_socket() if daemon.control == "" else daemon.control
    if path is None:
        if daemon.control is not None:
            problem = "$XDG_RUNTIME_DIR is not set; set daemon.control to a path"
            if daemon.control_group:
                raise OpenError([f"daemon.control_group: {problem}"])
            events.control_failed(problem)
        return None
    # Before the socket is bound: if this fails for lack of descriptors, no path is left behind.
    own = ServiceEvents("control", connection_log="debug")
    admission = AdmissionControl("control", _POLICY, Access.of(AccessRules()), own.table, DaemonAdmission(), time.time)
    try:
        listener = control_listener(path, daemon.control_group)
    except OpenError as error:
        if os.path.exists(path):
            raise ControlTakenError(error.problems, path) from None
        # netd starts without a control socket if its default path cannot be used.
        if daemon.control or daemon.control_group or "NETD_CONTROL" in os.environ:
            raise
        events.control_failed(error.problems[0])
        return None
    group = os.fstat(listener.file.descriptor).st_gid if daemon.control_group and listener.file else None
    server = StreamServer(listener.socket, ServiceType.of(Control), service(group), admission, own, loop)
    server.start()
    return server, listener


def control_listener(path: str, group: str | None) -> Listener:
    """Open the control socket, and make its directory if it is missing. Raises `OpenError` if that fails."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise OpenError([f"daemon.control: the path may have at most {LONGEST_PATH} octets: {path}"])
    if group:
        try:
            find_id("gid", group)
        except ValueError as error:
            raise OpenError([f"daemon.control_group: {error}"]) from None
    endpoint = Endpoint("unix", path=path, options=SocketOptions(mode=0o660 if group else 0o600, group=group))
    if not path.startswith("@"):
        # With DynamicUser= and RuntimeDirectoryPreserve=, /run/netd leads there, and only root may enter it. Within the
        # unit that cannot be seen.
        if group and os.geteuid() != 0 and os.path.realpath(path).startswith("/run/private/"):
            problem = f"systemd lets only root enter /run/private, where {path} leads to; {CONTROL_GROUP_DROP_IN}"
            raise OpenError([f"daemon.control_group: the group '{group}' cannot use the control socket: {problem}"])
        try:
            paths.check_directory(path)
        except ValueError as error:  # another user could impersonate netd there
            problem = f"{error}, or name another place with daemon.control"
            raise OpenError([f"daemon.control: cannot listen on {endpoint}: {problem}"]) from None
        except OSError as error:  # the directory could not be checked
            problem = f"{error.strerror}{advice(error, endpoint)}"
            raise OpenError([f"daemon.control: cannot listen on {endpoint}: {problem}"]) from None
    try:
        [listener] = open_listeners([("control", endpoint)], lambda *skipped: None)
    except OpenError as error:
        raise OpenError(problem.replace("services.", "daemon.", 1) for problem in error.problems) from None
    return listener
