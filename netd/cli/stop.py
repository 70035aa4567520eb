"""``netd stop``: stop a running netd and wait until its process has exited."""

import contextlib
import os
import select

import click

from netd.cli.control import ControlClient, control_options
from netd.cli.options import json_option
from netd.cli.output import print_answer

_MOST_PROCESSES = 2**22  # proc_sys_kernel(5), pid_max


@click.command(epilog="Example: netd stop")
@click.option("--now", is_flag=True, help="Close live connections at once.")
@control_options
@json_option
def stop(client: ControlClient, *, now: bool, as_json: bool) -> int:
    """Stop a running netd, and wait until it has exited.

    Live connections have daemon.drain (30s by default) to finish.
    """
    answer = client.ask("stop", *(["now"] if now else []))
    if not 0 < int(answer["pid"]) <= _MOST_PROCESSES:
        raise ValueError("it has no process ID")
    # Not that of the answer: in a container, netd has another one than here.
    if not answer.process:
        return print_answer(answer, "netd is stopping, in another pid namespace", as_json=as_json)
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(answer.process)
        try:
            select.select([descriptor], [], [])
        finally:
            os.close(descriptor)
    return print_answer(answer, f"netd has stopped (pid {answer.process})", as_json=as_json)
