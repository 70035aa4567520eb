"""Names, targets, connections and bans of a running netd, and service types: values that a shell completes.

Each function is a ``shell_complete`` of click. It raises where netd cannot be asked; `answer` then completes nothing.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click
from click.shell_completion import CompletionItem

from netd.cli.columns import readable_duration
from netd.cli.control import ControlClient

_LONGEST = 1.0  # seconds in which netd has to answer: the shell waits for it at each tab

Items = list[CompletionItem]


class _NoAnswerError(Exception):
    """netd does not answer in time. No OSError, which a search for the control socket passes over."""


def services(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The services of a running netd."""
    return _beginning(incomplete, {one["service"]: _about(one) for one in _ask(context, "status")["services"]})


def configured_services(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The services in the file of ``-c``, else those of a running netd."""
    file = context.params.get("file")
    if file is None:
        return services(context, parameter, incomplete)
    from netd.config import source  # only here, since it takes long

    return _beginning(incomplete, dict.fromkeys(source.read(str(file)).tree.get("services") or (), ""))


def services_off(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The services that are off."""
    found = _ask(context, "status")["services"]
    return _beginning(incomplete, {one["service"]: _about(one) for one in found if not one["enabled"]})


def services_on(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The services that are on."""
    found = _ask(context, "status")["services"]
    return _beginning(incomplete, {one["service"]: _about(one) for one in found if one["enabled"]})


def forwarding_services(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The services that forward, and so have targets."""
    found = _ask(context, "status")["services"]
    return _beginning(incomplete, {one["service"]: _about(one) for one in found if one["type"] == "forward"})


def service_transports(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Services with each transport at which they listen, as ``echo/udp``."""
    found = {}
    for one in _ask(context, "status")["services"]:
        for endpoint in one["endpoints"]:
            transport = endpoint.partition(":")[0].replace("tls", "tcp")
            found[f"{one['service']}/{transport}"] = endpoint
    return _beginning(incomplete, found)


def targets(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The targets of the service that is the argument before."""
    found = _ask(context, "target", str(context.params["service"]))["targets"]
    return _beginning(incomplete, {one["target"]: one["state"] for one in found})


def target_changes(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """What `netd target` can do to a target."""
    return _beginning(incomplete, dict.fromkeys(("enable", "disable", "drain"), ""))


def connection_ids(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The ids of open connections, each with its service, peer and age."""
    found = _ask(context, "connections")["connections"]
    about = {
        one["id"]: f"{one['service']} {one['peer']} {readable_duration(one['age_seconds'])}".replace("  ", " ")
        for one in found
    }
    return _beginning(incomplete, about)


def peers(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The peers with the most connections."""
    found = _ask(context, "peers")["peers"]
    return _beginning(incomplete, {one["peer"]: f"{one['connections']} open" for one in found})


def banned_sources(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The sources that are banned, each with the time that is left and the reason."""
    found = _ask(context, "ban", "list")["bans"]
    about = {one["source"]: f"{readable_duration(one['remaining_seconds'])} left, {one['why']}" for one in found}
    return _beginning(incomplete, about)


def service_types(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The service types."""
    from netd.services import table  # only here, since it takes long

    return _beginning(incomplete, dict.fromkeys(table.usable_names(), ""))


def commands(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """The commands behind the words that are given already."""
    command = context.find_root().command
    for word in context.params.get(str(parameter.name)) or ():
        if not isinstance(command, click.Group) or not (found := command.get_command(context, word)):
            return []
        command = found
    if not isinstance(command, click.Group):
        return []
    return [item for item in command.shell_complete(click.Context(command), incomplete) if item.value[0] != "-"]


def files(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Files, which the shell finds by itself."""
    return [CompletionItem(incomplete, type="file")]


def _about(service: dict[str, Any]) -> str:
    return f"{'on' if service['enabled'] else 'off'} {' '.join(service['endpoints'])}".rstrip()


def _beginning(incomplete: str, found: dict[str, str]) -> Items:
    return [CompletionItem(value, help=text) for value, text in found.items() if value.startswith(incomplete)]


def _ask(context: click.Context, *words: str) -> Any:
    """The answer of the netd that the options of the line select. Raises `_NoAnswerError` where it takes too long."""
    with _within(_LONGEST):
        return ControlClient(context.params.get("file"), context.params.get("path")).ask(*words)


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise `_NoAnswerError` in what runs here after so many seconds, whichever system call it is in."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _NoAnswerError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
