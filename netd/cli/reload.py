"""Commands that change what a running netd does: ``netd reload``, and ``netd diff``, which shows what it would change.

``netd enable``, ``netd disable`` and ``netd log-level`` have effect until the next reload.
"""

from collections.abc import Mapping
from typing import Any

import click

from netd.cli.completion import candidates
from netd.cli.control import ControlClient, control_options
from netd.cli.options import json_option
from netd.cli.output import print_answer
from netd.client.control import Answer


@click.command(epilog="Example: netd diff")
@control_options
@json_option
def diff(client: ControlClient, *, as_json: bool) -> int:
    """Show what a reload would change, service by service, and which live connections it affects. Changes nothing."""
    answer = client.ask("diff")
    lines = []
    for change in answer["changes"]:
        lines += _lines_of(change, _affected(change))
    lines += answer["settings"]
    lines += [f"{key}: changed; needs a restart" for key in answer["restart_needed"]]
    return print_answer(answer, "\n".join(lines) or "nothing would change", as_json=as_json)


def _lines_of(change: Answer, affected: str = "") -> list[str]:
    details = change.get("details", ())  # the answer of a netd before this version to a reload has none
    return [f"{change['service']}: {change['what']}{affected}", *(f"    {detail}" for detail in details)]


def _affected(change: Answer) -> str:
    """What happens to the live connections of a changed service."""
    live = change["connections"]
    if not live:
        return ""
    if live == 1:
        fate = "has limits.drain to finish" if change["drained"] else "stays as it is"
        return f"; its live connection {fate}"
    fate = "have limits.drain to finish" if change["drained"] else "stay as they are"
    return f"; its {live} live connections {fate}"


@click.command(epilog="Example: netd reload")
@control_options
@json_option
def reload(client: ControlClient, *, as_json: bool) -> int:
    """Load the config file again and apply it. Services that did not change are not touched.

    A config with any problem, or a socket that the system refuses, changes nothing: the problems are printed.
    """
    answer = client.ask("reload")
    lines = [line for change in answer["changes"] for line in _lines_of(change)]
    lines += answer["settings"]
    lines += [f"{key}: changed; needs a restart" for key in answer["restart_needed"]]
    for warning in answer.get("warnings", ()):  # a netd before this version has none
        click.echo(f"netd: {warning}", err=True)
    return print_answer(
        answer, "\n".join([*lines, f"generation {answer['generation']} of the config is in force"]), as_json=as_json
    )


@click.command(epilog="Example: netd enable echo")
@click.argument("name", metavar="SERVICE", shell_complete=candidates.services_off)
@control_options
@json_option
def enable(client: ControlClient, name: str, *, as_json: bool) -> int:
    """Switch a service on, until the next reload."""
    return _switch(client, "enable", name, as_json=as_json)


@click.command(epilog="Example: netd disable echo")
@click.argument("name", metavar="SERVICE", shell_complete=candidates.services_on)
@control_options
@json_option
def disable(client: ControlClient, name: str, *, as_json: bool) -> int:
    """Switch a service off, until the next reload.

    Its live connections have limits.drain (30s by default) to finish.
    """
    return _switch(client, "disable", name, as_json=as_json)


def _switch(client: ControlClient, command: str, name: str, *, as_json: bool) -> int:
    answer = client.ask(command, name)
    return print_answer(answer, switch_result(answer), as_json=as_json)


def switch_result(answer: Mapping[str, Any]) -> str:
    """What ``enable`` or ``disable`` did, from the answer of netd: ``echo is off, until the next reload``."""
    state = "on" if answer["enabled"] else "off"
    if not answer["changed"]:
        return f"{answer['service']} was {state} already"
    until_reload = answer.get("until_reload", True)  # a netd before this version does not say
    return f"{answer['service']} is {state}{', until the next reload' if until_reload else ' again, as in the config'}"


@click.command("log-level", epilog="Example: netd log-level debug")
@click.argument(
    "level",
    metavar="[LEVEL]",
    required=False,
    type=click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False),
)
@control_options
@json_option
def log_level(client: ControlClient, level: str | None, *, as_json: bool) -> int:
    """Print the log level, or change it until the next reload: debug, info, warning, error or critical."""
    answer = client.ask("log-level", *([level] if level else []))
    now = answer["log_level"]
    text = now
    if level:
        text = f"the log level is {now}, until the next reload" if answer["changed"] else f"it was {now} already"
    return print_answer(answer, text, as_json=as_json)
