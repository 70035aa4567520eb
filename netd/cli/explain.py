"""``netd explain``: which rule decides about a peer."""

import click

from netd.cli.completion import candidates
from netd.cli.control import ControlClient, control_options
from netd.cli.options import json_option
from netd.cli.output import print_answer, table
from netd.errors import EXIT_NO, EXIT_OK


@click.command(
    epilog="Example: netd explain --from 192.0.2.7:5353 --to echo/udp",
)
@click.option(
    "--from",
    "peer",
    metavar="PEER",
    required=True,
    help="ADDRESS, ADDRESS:PORT, or for a UNIX socket uid:NAME or gid:NAME.",
)
@click.option(
    "--to",
    "where",
    metavar="SERVICE/TRANSPORT",
    required=True,
    shell_complete=candidates.service_transports,
    help="The transport is tcp, udp, unix or unixgram.",
)
@control_options
@json_option
def explain(client: ControlClient, peer: str, where: str, *, as_json: bool) -> int:
    """Show which rule, limit, ban or guard decides about a peer now, and why. Nothing is sent or counted."""
    answer = client.ask("explain", **{"from": peer, "to": where})
    verdict = "is served"
    if any(check["name"] == "certificate" for check in answer["checks"]):
        verdict += " if it has a certificate of access.allow"
    if not answer["served"]:
        # A reason may begin with the key of the config that the check is named after, and says itself that it is off.
        named = answer["decided_by"] == "enabled" or answer["why"].startswith(f"{answer['decided_by']}.")
        verdict = f"is not served: {'' if named else answer['decided_by'] + ', '}{answer['why']}"
    rows = [[check["name"], "yes" if check["passes"] else "no", check["why"]] for check in answer["checks"]]
    text = f"{answer['from']} at {answer['to']} {verdict}\n\n{table(('CHECK', 'PASSES', 'WHY'), rows)}"
    print_answer(answer, text, as_json=as_json)
    return EXIT_OK if answer["served"] else EXIT_NO
