"""The remedies for errors of opening a socket, as the operator reads them."""

import errno
import os
import socket

from netd.endpoints import Endpoint

CONTROL_GROUP_DROP_IN = "under systemd see the drop-in control-group.conf"
"""The remedy where the unit keeps netd from giving its control socket to a group."""

PROGRAMS_DROP_IN = "under systemd see the drop-in programs.conf"
"""The remedy where the unit keeps netd from starting programs as the config says."""


def advice(error: Exception, endpoint: Endpoint) -> str:
    """The remedy for an endpoint that cannot be opened, to append to the error; empty where there is none."""
    code = error.errno if isinstance(error, OSError) else None
    directory = os.path.dirname(endpoint.path)
    match code:
        case errno.EADDRINUSE if endpoint.path:
            return "; another program listens there"
        case errno.EADDRINUSE:
            return f"; see which program has it: ss -{'t' if endpoint.streams else 'u'}anp 'sport = :{endpoint.port}'"
        case errno.EACCES if not endpoint.path and endpoint.port < 1024:
            return "; a port below 1024 needs root or CAP_NET_BIND_SERVICE (capabilities(7))"
        case errno.EADDRNOTAVAIL:
            return "; this host has no such address (see: ip address); freebind=on binds it anyway"
        case errno.EINVAL if endpoint.host.startswith("fe80"):
            return "; a link-local address needs its interface, as in [fe80::1%eth0]"
        case errno.ENODEV:
            return f"; there is no interface '{endpoint.options.device}' (see: ip link)"
        case errno.ENOENT if endpoint.path:
            return f"; make the directory {directory} first"
        case errno.EPERM if endpoint.options.group:
            group = endpoint.options.group
            return f"; only root and members of the group '{group}' may give a file to it; {CONTROL_GROUP_DROP_IN}"
        case errno.EACCES | errno.EPERM if endpoint.path:
            return f"; {directory} and its owner must let this user write there, and only root gives files away"
        case socket.EAI_NONAME:
            return "; name an address, or see that the name resolves on this host"
    return ""
