"""Commands about who is served: ``netd explain`` and ``netd ban``."""

import click

from netd.cli.columns import readable_duration
from netd.cli.control import Ask, json_option, print_answer, table, talks
from netd.errors import EXIT_NO, EXIT_OK, EXIT_USAGE


@click.command(epilog="Example: netd explain --from 192.0.2.7:5353 --to echo/udp")
@click.option("--from", "peer", required=True, help="ADDRESS, ADDRESS:PORT, or for a UNIX socket uid:NAME or gid:NAME.")
@click.option("--to", "where", required=True, help="SERVICE/TRANSPORT: tcp, udp, unix or unixgram.")
@talks
@json_option
def explain(ask: Ask, peer: str, where: str, *, as_json: bool) -> int:
    """Tell which rule, limit, ban or guard decides about a peer now, and why. Nothing is sent or counted.

    Exit code 0: it would be served; 1: it would not.
    """
    answer = ask("explain", **{"from": peer, "to": where})
    verdict = "is served" if answer["served"] else f"is not served: {answer['decided_by']}, {answer['why']}"
    rows = [[check["name"], "yes" if check["passes"] else "no", check["why"]] for check in answer["checks"]]
    text = f"{answer['from']} at {answer['to']} {verdict}\n\n{table(('CHECK', 'PASSES', 'WHY'), rows)}"
    print_answer(answer, text, as_json=as_json)
    return EXIT_OK if answer["served"] else EXIT_NO


@click.group(epilog="Example: netd ban add 192.0.2.7 --for 10m", invoke_without_command=True)
@click.pass_context
def ban(context: click.Context) -> None:
    """Show, add and lift bans. A banned source (an IPv4 address, or an IPv6 /64) is refused by all services.

    Sources that keep being refused are banned by themselves: see `bans` in the config.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(EXIT_USAGE)


@ban.command("list", epilog="Example: netd ban list --json")
@talks
@json_option
def list_(ask: Ask, *, as_json: bool) -> int:
    """List who is banned, for how long, how many times in a row, and why."""
    answer = ask("ban", "list")
    rows = [[one["source"], readable_duration(one["seconds"]), one["times"], one["why"]] for one in answer["bans"]]
    text = table(("SOURCE", "LEFT", "TIMES", "WHY"), rows, ("LEFT", "TIMES")) if rows else "nobody is banned"
    return print_answer(answer, text, as_json=as_json)


@ban.command(epilog="Example: netd ban add 192.0.2.7 --for 10m")
@click.argument("source")
@click.option("--for", "duration", default="1h", show_default=True, help="How long: 30s, 5m, 1h, 7d.")
@talks
def add(ask: Ask, source: str, duration: str) -> int:
    """Ban a source: an address, or an IPv6 /64. Live connections go on (netd kick ends them)."""
    ask("ban", "add", source, duration)
    return EXIT_OK


@ban.command(epilog="Example: netd ban remove 192.0.2.7")
@click.argument("source")
@talks
def remove(ask: Ask, source: str) -> int:
    """Lift a ban, and forget the ones before. Exit code 1 when there is none."""
    ask("ban", "remove", source)
    return EXIT_OK
