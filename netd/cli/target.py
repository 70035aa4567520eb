"""``netd target``: the targets of a service that forwards; take one out of service, and put it back."""

import click

from netd.cli.columns import TARGET_HEADS, TARGET_NUMBERS, target_rows
from netd.cli.completion import candidates
from netd.cli.control import ControlClient, control_options
from netd.cli.options import json_option
from netd.cli.output import print_answer, table
from netd.client.control import Answer
from netd.text import printable

_DONE = {
    "enabled": "is used",
    "drain": "gets no new connections",
    "disabled": "is not used; its live connections have limits.drain to finish",
}
_ALREADY = {"enabled": "was enabled already", "drain": "was drained already", "disabled": "was disabled already"}


@click.command(
    epilog="Example: netd target web drain tcp://10.0.0.5:8080",
)
@click.argument("service", shell_complete=candidates.forwarding_services)
@click.argument("change", metavar="[enable|disable|drain]", required=False, shell_complete=candidates.target_changes)
@click.argument("url", metavar="[TARGET]", required=False, shell_complete=candidates.targets)
@control_options
@json_option
def target(client: ControlClient, service: str, change: str | None, url: str | None, *, as_json: bool) -> int:
    """Show the targets of a SERVICE that forwards, or change one of them, until netd is started again.

    \b
    drain    it gets no new connections; its live connections go on
    disable  neither; its live connections have limits.drain to finish
    enable   it is used again

    \b
    OPEN     connections and sessions open now
    SERVED   all that there have been
    FAILED   how often it could not be reached
    STATE    up; resting, since it could not be reached; down, as its check
             has found; or as this command has said
    """  # noqa: D301  # the backslash is for click, which keeps the lines behind it as they are
    if change is None:
        answer = client.ask("target", service)
        return print_answer(answer, target_table(answer), as_json=as_json)
    if change not in ("enable", "disable", "drain"):
        raise click.UsageError(f"expected enable, disable or drain, got {change!r}")
    if url is None:
        raise click.UsageError(f"expected the target to {change}, as netd target {service} shows it")
    answer = client.ask("target", service, change, *(url.split() or [url]))  # the path of a UNIX target may have blanks
    told = _DONE if answer["changed"] else _ALREADY
    text = f"{answer['service']}: {printable(answer['target'])} {told[answer['state']]}"
    return print_answer(answer, text, as_json=as_json)


def target_table(service: Answer) -> str:
    """The targets of a service in an answer."""
    rows = [[row[head] for head in TARGET_HEADS] for row in target_rows(service["targets"])]
    return table(TARGET_HEADS, rows, TARGET_NUMBERS, ("STATE",))
