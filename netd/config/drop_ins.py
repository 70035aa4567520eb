"""The drop-ins of the systemd unit that a config needs, for `netd check` in a shell, where the unit is not in force.

Within the unit nothing is said here: what the unit does not permit is an error there.
"""

import os

from netd.services.exec.options import ProgramOptions

PROGRAMS, LEAVE = "programs.conf", "programs-leave.conf"
_BOOTED = "/run/systemd/system"  # sd_booted(3)
_PLACES = "/etc/systemd/system/netd.service.d", "/etc/systemd/system/netd@.service.d"


def missing(name: str) -> str:
    """The notice that a config needs this drop-in; empty where it is installed, or systemd does not run this host."""
    if "NOTIFY_SOCKET" in os.environ or not os.path.isdir(_BOOTED):
        return ""
    if any(os.path.exists(f"{place}/{name}") for place in _PLACES):
        return ""
    return f"under systemd this needs the drop-in {name} in {_PLACES[0]}"


def option_beyond_the_unit(options: ProgramOptions) -> str:
    """The first option that the shipped unit does not permit; empty: there is none."""
    beyond = {
        "user": options.user is not None,
        "group": options.group is not None,
        "groups": options.groups is not True,
        "root": options.root is not None,
        "no_new_privileges": not options.no_new_privileges,
        "nice": options.nice != 0,
    }
    return next((key for key, is_beyond in beyond.items() if is_beyond), "")
