"""``netd stop``: stop a running netd and wait until its process has exited."""

import contextlib
import os
import select

import click

from netd.cli.control import ControlClient, control_options
from netd.errors import EXIT_OK


@click.command(epilog="Example: netd stop")
@click.option("--now", is_flag=True, help="Close live connections at once.")
@control_options
def stop(client: ControlClient, *, now: bool) -> int:
    """Stop a running netd, and wait until it has exited. Live connections have daemon.drain to finish."""
    pid = int(client.ask("stop", *(["now"] if now else []))["pid"])
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            select.select([descriptor], [], [])
        finally:
            os.close(descriptor)
    return EXIT_OK
