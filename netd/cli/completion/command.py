"""``netd completion``: the script with which a shell completes command lines of netd."""

from pathlib import Path

import click

from netd.errors import EXIT_OK

SCRIPTS = {"bash": "netd.bash", "zsh": "_netd", "fish": "netd.fish"}
"""The file of each shell, beside this one, by the name under which that shell looks for it."""


@click.command(epilog="Example: netd completion fish > ~/.config/fish/completions/netd.fish")
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> int:
    """Print the script with which a shell completes command lines of netd: commands, options, and at a running netd
    its services, targets, connections and bans.

    \b
    bash  netd completion bash > ~/.local/share/bash-completion/completions/netd
    zsh   netd completion zsh > DIRECTORY/_netd, a directory of $fpath
    fish  netd completion fish > ~/.config/fish/completions/netd.fish

    `make install` and packages install all three. The shell runs `netd` at each tab; where no netd runs, or it does
    not answer within a second, that completes nothing, without a message.
    """  # noqa: D301  # the backslash is for click, which keeps the lines behind it as they are
    click.echo((Path(__file__).parent / SCRIPTS[shell]).read_text(), nl=False)
    return EXIT_OK
