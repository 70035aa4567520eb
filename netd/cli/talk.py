"""``netd talk``: an interactive client for any service."""

import contextlib
import os
import sys

import click

from netd.cli.control import Ask, good, talks
from netd.cli.options import parsed
from netd.client.talk.control_link import ControlLink
from netd.client.talk.conversation import Schedule
from netd.client.talk.conversation import talk as hold
from netd.client.talk.link import Link, client_endpoint, connect
from netd.client.talk.template import Template
from netd.client.talk.user_io import Pipe, UserInterface
from netd.endpoints import Endpoint
from netd.errors import EXIT_OK
from netd.services.chat.text import check_name
from netd.values import parse_duration


@click.command(
    epilog="""\b
Example: netd talk tcp://localhost:7037
More:
  netd talk --name alex udp://localhost:9999
  netd talk --every 10s --send '{now}' udp://localhost:9999
  netd talk --every 2s --send '{seq} {time:%H:%M:%S}' --count 5 tcp://localhost:7007
  echo 'ping 42' | netd talk tcp://localhost:8888
  netd talk --room chat --name operator
"""
)
@click.argument("endpoint", metavar="[URL]", required=False, callback=parsed(client_endpoint))
@click.option(
    "--room",
    metavar="SERVICE",
    help="Instead of a URL: a service of this host's netd, through its control socket.",
)
@click.option("--name", callback=parsed(check_name), metavar="NAME", help="Put `NAME : ` before each line, for a chat.")
@click.option(
    "--every",
    callback=parsed(parse_duration),
    metavar="DURATION",
    help="Send what --send says, now and again after each 10s, 2m, …",
)
@click.option(
    "--send",
    "template",
    callback=parsed(Template),
    metavar="TEXT",
    help="What --every sends: {now} is the Unix timestamp, {seq} counts from 1, {time:%H:%M} is strftime(3).",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End when --every has sent so many.")
@click.option(
    "--wait",
    callback=parsed(parse_duration),
    metavar="DURATION",
    help="How long to wait for another answer once this side has finished. Default: 1s over datagrams, and after a "
    "last line `q` or `bye` or Ctrl-D; over a stream at the end of a pipe, until the other end closes.",
)
@talks
def talk(
    ask: Ask,
    endpoint: Endpoint | None,
    room: str | None,
    name: str | None,
    every: float | None,
    template: Template | None,
    count: int | None,
    wait: float | None,
) -> int:
    """Talk to a service, line by line.

    The URL is tcp://HOST:PORT, udp://HOST:PORT, unix:///PATH or unixgram:///PATH (or @NAME for an abstract one).

    A line is sent as it is entered (over datagrams: in one), and answers show as they come. It ends with the input
    (Ctrl-D), with a line `q` or `bye`, which is sent, after --count, or when the other end closes.

    Of a pipe all lines are sent: a `q` or `bye` ends it only if nothing comes behind it for a second. With --every, a
    pipe that ends, as /dev/null does, ends nothing unless its last line is one of these.

    Exit code 0: this side ended it, or the other end did when the last line was `q` or `bye`; 1: the other end did,
    unasked; 69: it cannot be reached.
    """
    if (endpoint is None) == (room is None):
        raise click.UsageError("expected either a URL or --room")
    if (every is None) != (template is None):
        raise click.UsageError("--every and --send belong together")
    if count is not None and every is None:
        raise click.UsageError("--count counts what --every sends")
    schedule = None if every is None or template is None else Schedule(template, every, count)
    with contextlib.closing(connect(endpoint) if endpoint else _enter(ask, str(room))) as line:
        hold(line, _person(line, name), name, schedule, wait)
    return EXIT_OK


def _enter(ask: Ask, service: str) -> Link:
    """A line to a service of a running netd. An `OperatorError` says why there is none."""
    line = ControlLink(ask.places(), service)
    try:
        good(line.answer)
    except BaseException:
        line.close()
        raise
    return line


def _person(line: Link, name: str | None) -> UserInterface:
    """Whoever is there: somebody at a terminal, who is told what they talk to, or a program."""
    if not (sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
        return Pipe()
    from netd.client.talk.terminal import Terminal

    where = f" ({line.where})" if line.where not in line.url else ""
    click.echo(f"talking to {line.url}{where}; q, bye or Ctrl-D ends it", err=True)
    return Terminal(f"{name} : " if name else "> ")
