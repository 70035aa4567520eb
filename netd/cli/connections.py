"""``netd connections`` and ``netd kick``: list live connections, and close them."""

import click

from netd.cli.columns import readable_duration
from netd.cli.control import ControlClient, control_options
from netd.cli.options import json_option, peer_option
from netd.cli.output import print_answer, table
from netd.errors import EXIT_NO, EXIT_OK


@click.command(
    epilog="Example: netd connections --service echo --peer 192.0.2.0/24", short_help="List live connections."
)
@click.option("--service", metavar="SERVICE", help="Only those of this service.")
@peer_option("Only those of this address (with or without port) or network.")
@control_options
@json_option
def connections(client: ControlClient, service: str | None, peer: str | None, *, as_json: bool) -> int:
    """List live connections: peer, age, idle time and octets. At most 1,000 for each worker, and the total number.

    Below the table: the connections that wait for the rest of a message, and what they have received.
    """
    answer = client.ask("connections", service=service, peer=peer)
    rows = [
        [
            *(row[key] for key in ("id", "service", "peer", "local")),
            readable_duration(row["age_seconds"]),
            readable_duration(row["idle_seconds"]),
            row["received_bytes"],
            row["sent_bytes"],
        ]
        for row in answer["connections"]
    ]
    numbers = ("AGE", "IDLE", "IN", "OUT")
    text = table(("ID", "SERVICE", "PEER", "LOCAL", *numbers), rows, numbers, whole=("ID",))
    for row in answer["connections"]:
        if unanswered := row.get("unanswered"):
            text += f"\n{row['id']}: {unanswered}"
    if answer["total"] > len(rows):
        text += f"\n{len(rows)} of {answer['total']}"
    return print_answer(answer, text if rows else "no connections", as_json=as_json)


@click.command(epilog="Example: netd kick --peer 192.0.2.7", short_help="Close live connections.")
@click.argument("id", required=False)
@click.option("--service", metavar="SERVICE", help="All of this service.")
@peer_option("All of this address (with or without port) or network.")
@control_options
@json_option
def kick(client: ControlClient, id: str | None, service: str | None, peer: str | None, *, as_json: bool) -> int:
    """Close live connections: the one with this ID (`netd connections` shows it), or those that the options select.

    A peer that only sends datagrams has no connection; a chat removes such a member after its option `idle`.

    Exit code 1 when there was no such connection.
    """
    if not (id or service or peer):
        raise click.UsageError("expected an ID, --service or --peer")
    answer = client.ask("kick", id=id, service=service, peer=peer)
    number = answer["closed"]
    print_answer(answer, f"{number} connection{'s' * (number != 1)} closed", as_json=as_json)
    return EXIT_OK if number else EXIT_NO
