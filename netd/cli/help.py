"""``netd help``: the help of a command."""

import click

from netd.cli.completion import candidates
from netd.errors import EXIT_OK


@click.command("help", epilog="Example: netd help ban add")
@click.argument("command", nargs=-1, shell_complete=candidates.commands)
@click.pass_context
def help_(context: click.Context, command: tuple[str, ...]) -> int:
    """Show the help of a command, as `netd COMMAND --help` does."""
    netd = context.find_root().command
    netd.main([*command, "--help"], prog_name="netd", standalone_mode=False)
    return EXIT_OK
