"""The attributes of xinetd.conf(5): how many values each has, whether it is a list, and where it may stand."""

from typing import NamedTuple


class Kind(NamedTuple):
    """What xinetd's table says of an attribute."""

    values: int | None
    """The number of values; None for any."""
    is_list: bool = False
    """Whether ``+=`` and ``-=`` are allowed."""
    in_defaults: bool = False
    only_in_defaults: bool = False


_ONE, _ONE_D = Kind(1), Kind(1, in_defaults=True)
_ANY, _LIST, _LIST_D = Kind(None), Kind(None, is_list=True), Kind(None, is_list=True, in_defaults=True)

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("id", "socket_type", "protocol", "wait", "disable", "user", "group", "server"), _ONE),
    **dict.fromkeys(("groups", "umask", "instances", "per_source", "max_load", "v6only", "bind"), _ONE_D),
    **dict.fromkeys(("banner", "banner_success", "banner_fail"), _ONE_D),
    **dict.fromkeys(("nice", "rpc_version", "rpc_number", "port", "deny_time", "libwrap"), _ONE),
    **dict.fromkeys(("rlimit_as", "rlimit_data", "rlimit_rss", "rlimit_stack", "rlimit_cpu", "rlimit_files"), _ONE),
    **dict.fromkeys(("type", "flags", "server_args", "access_times"), _ANY),
    **dict.fromkeys(("only_from", "no_access", "log_on_success", "log_on_failure", "passenv"), _LIST_D),
    "log_type": Kind(None, in_defaults=True),
    "env": _LIST,
    "cps": Kind(2, in_defaults=True),
    "redirect": Kind(2),
    "mdns": _ONE_D,
    "enabled": Kind(None, is_list=True, in_defaults=True, only_in_defaults=True),
    "disabled": Kind(None, is_list=True, in_defaults=True, only_in_defaults=True),
}

OTHER_NAMES = {"interface": "bind"}

_LOGS = ("log_on_success", "log_on_failure")
_LISTS = ("only_from", "no_access", "passenv")

COPIED = (*_LOGS, *_LISTS, "banner", "banner_success", "banner_fail")
"""A service gets these from the defaults that were read before it began."""

FILLED_IN = ("instances", "per_source", "cps", "umask", "groups", "bind", "max_load", "log_type", *_LOGS)
"""A service that has none gets these from the defaults at the end, wherever they stand."""
