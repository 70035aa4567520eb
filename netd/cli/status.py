"""``netd status``: the services of a running netd and their counters."""

import click

from netd.cli.columns import HEADS, NUMBERS, daemon_lines, service_rows
from netd.cli.control import ControlClient, control_options
from netd.cli.options import json_option
from netd.cli.output import print_answer, table


@click.command(epilog="Example: netd status --json")
@control_options
@json_option
def status(client: ControlClient, *, as_json: bool) -> int:
    """Show the services of a running netd, and their counters since it started.

    Exit code 0: netd is running; 69: it is not.
    """
    answer = client.ask("status")
    cells = []
    for row in service_rows(answer):
        first, *others = row["ENDPOINT"] or ["-"]
        cells.append([first if head == "ENDPOINT" else row[head] for head in HEADS])
        cells += [[other if head == "ENDPOINT" else "" for head in HEADS] for other in others]
    return print_answer(answer, "\n".join([*daemon_lines(answer), "", table(HEADS, cells, NUMBERS)]), as_json=as_json)
