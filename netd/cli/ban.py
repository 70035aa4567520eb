"""``netd ban``: list, add and remove bans."""

import click

from netd.cli.columns import readable_duration
from netd.cli.completion import candidates
from netd.cli.control import ControlClient, control_options
from netd.cli.options import json_option, parsed, seconds
from netd.cli.output import print_answer, table
from netd.errors import EXIT_USAGE


@click.group(epilog="Example: netd ban add 192.0.2.7 --for 10m", invoke_without_command=True)
@click.pass_context
def ban(context: click.Context) -> None:
    """List, add and remove bans. A banned source is refused by all services: an IPv4 address, or an IPv6
    /64; one address, where that is link-local or behind NAT64.

    Sources that are refused again and again are banned automatically: see `bans` in the config.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(EXIT_USAGE)


@ban.command("list", epilog="Example: netd ban list --json", short_help="List banned sources.")
@control_options
@json_option
def list_(client: ControlClient, *, as_json: bool) -> int:
    """List banned sources: the time left, the number of bans in a row, and the reason."""
    answer = client.ask("ban", "list")
    rows = [
        [one["source"], readable_duration(one["remaining_seconds"]), one["times"], one["why"]] for one in answer["bans"]
    ]
    text = table(("SOURCE", "LEFT", "TIMES", "WHY"), rows, ("LEFT", "TIMES")) if rows else "no bans"
    return print_answer(answer, text, as_json=as_json)


@ban.command(epilog="Example: netd ban add 192.0.2.7 --for 10m", short_help="Ban a source for some time.")
@click.argument("source")
@click.option(
    "--for",
    "duration",
    callback=parsed(seconds),
    metavar="DURATION",
    default="1h",
    show_default=True,
    help="How long: 30s, 5m, 1h, 7d.",
)
@control_options
@json_option
def add(client: ControlClient, source: str, duration: float, *, as_json: bool) -> int:
    """Ban a source: an address, or an IPv6 /64. Live connections stay open (netd kick closes them)."""
    from netd.values import duration_text  # only here, since it takes long

    answer = client.ask("ban", "add", source, duration_text(duration))
    text = f"{answer['source']} is banned for {readable_duration(answer['remaining_seconds'])}"
    return print_answer(answer, text, as_json=as_json)


@ban.command(epilog="Example: netd ban remove 192.0.2.7", short_help="Remove a ban.")
@click.argument("source", shell_complete=candidates.banned_sources)
@control_options
@json_option
def remove(client: ControlClient, source: str, *, as_json: bool) -> int:
    """Remove a ban, and reset the number of bans in a row."""
    answer = client.ask("ban", "remove", source)
    return print_answer(answer, f"{answer['source']} is not banned any more", as_json=as_json)
