"""``netd config``: the commented config that netd ships with."""

import click

from netd.config import loader
from netd.errors import EXIT_OK


@click.command(epilog="Example: netd config --example > netd.yaml")
@click.option("--example", is_flag=True, required=True, help="Print the config with every key, its default and reason.")
def config(example: bool) -> int:
    """Print an example config. `make install` puts the same one at /etc/netd/netd.yaml."""
    click.echo(loader.EXAMPLE_FILE.read_text(), nl=False)
    return EXIT_OK
