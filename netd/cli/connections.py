"""``netd connections`` and ``netd kick``: list live connections, and close them."""

import click

from netd.cli.columns import readable_duration
from netd.cli.completion import candidates
from netd.cli.control import ControlClient, control_options
from netd.cli.options import json_option, peer_option
from netd.cli.output import print_answer, table
from netd.client.control import Answer
from netd.errors import EXIT_NO, EXIT_OK

_SOME = ("VIA", "TARGET", "IDLE", "IN", "OUT", "PID", "CPU", "MEMORY")  # left out where no connection has a value
_NUMBERS = ("AGE", *_SOME[2:])
_HEADS = ("ID", "SERVICE", "PEER", "VIA", "LOCAL", "TARGET", *_NUMBERS)
_SPARE = ("LOCAL", "VIA", "IDLE", "IN", "OUT")
_MINUTE = 60


@click.command(epilog="Example: netd connections --service echo --peer 192.0.2.0/24")
@click.option("--service", metavar="SERVICE", shell_complete=candidates.services, help="Only those of this service.")
@peer_option("Only those of this address (with or without port) or network.")
@control_options
@json_option
def connections(client: ControlClient, service: str | None, peer: str | None, *, as_json: bool) -> int:
    """List live connections: peer, age, idle time and octets. At most 1,000 for each worker, and the total number.

    VIA is the proxy that has named the peer.

    Of a program that serves one: its process, and the processor time and the memory that it uses. netd sees no octets
    of a connection that it has handed over. Of one that netd passes on: its target. A narrow terminal shows fewer
    columns.

    Below the table: the connections that wait for the rest of a message, and what they have received.
    """
    answer = client.ask("connections", service=service, peer=peer)
    rows = [_row(row) for row in answer["connections"]]
    heads = [head for head in _HEADS if head not in _SOME or any(row[head] != "-" for row in rows)]
    cells = [[row[head] for head in heads] for row in rows]
    text = table(heads, cells, _NUMBERS, whole=("ID",), spare=_SPARE)
    for row in answer["connections"]:
        if unanswered := row.get("unanswered"):
            text += f"\n{row['id']}: {unanswered}"
    if answer["total"] > len(rows):
        text += f"\n{len(rows)} of {answer['total']}"
    return print_answer(answer, text if rows else "no connections", as_json=as_json)


def _row(connection: Answer) -> dict[str, str]:
    row = {head: str(connection[head.lower()]) for head in ("ID", "SERVICE", "PEER", "LOCAL")}
    row["AGE"] = readable_duration(connection["age_seconds"])
    # A netd before this version starts no programs.
    seen, pid = not connection.get("handed_over", False), connection.get("pid")
    cpu, memory = connection.get("cpu_seconds"), connection.get("memory_bytes")
    return row | {
        "VIA": connection.get("via", "-"),
        "TARGET": connection.get("target") or "-",  # as above
        "IDLE": readable_duration(connection["idle_seconds"]) if seen else "-",
        "IN": str(connection["received_bytes"]) if seen else "-",
        "OUT": str(connection["sent_bytes"]) if seen else "-",
        "PID": "-" if pid is None else str(pid),
        "CPU": "-" if cpu is None else f"{cpu:.2f}s" if cpu < _MINUTE else readable_duration(cpu),
        "MEMORY": "-" if memory is None else f"{memory / 2**20:.1f}MiB",
    }


@click.command(epilog="Example: netd kick --peer 192.0.2.7")
@click.argument("id", required=False, shell_complete=candidates.connection_ids)
@click.option("--service", metavar="SERVICE", shell_complete=candidates.services, help="All of this service.")
@peer_option("All of this address (with or without port) or network.")
@control_options
@json_option
def kick(client: ControlClient, id: str | None, service: str | None, peer: str | None, *, as_json: bool) -> int:
    """Close live connections: the one with this ID (`netd connections` shows it), or those that the options select.

    A peer that only sends datagrams has no connection, but where they are forwarded, a session. A chat removes such a
    member after its option `idle`.
    """
    if not (id or service or peer):
        raise click.UsageError("expected an ID, --service or --peer")
    answer = client.ask("kick", id=id, service=service, peer=peer)
    number = answer["closed"]
    print_answer(answer, f"{number} connection{'s' * (number != 1)} closed", as_json=as_json)
    return EXIT_OK if number else EXIT_NO
