"""``netd talk``: an interactive client for any service."""

import asyncio
import contextlib
import os
import sys

import click

from netd.cli.completion import candidates
from netd.cli.control import ControlClient, check_response, control_options
from netd.cli.options import parsed, seconds
from netd.cli.tls_options import TlsOptions, tls_options
from netd.client.talk.control_link import ControlLink
from netd.client.talk.conversation import Schedule
from netd.client.talk.conversation import talk as run_conversation
from netd.client.talk.link import Link, connect
from netd.client.talk.template import Template
from netd.client.talk.tls_link import TlsLink
from netd.client.talk.user_io import Pipe, UserInterface
from netd.client.urls import client_endpoint
from netd.endpoints import Endpoint
from netd.errors import EXIT_OK
from netd.services.chat.text import check_name

_ENDS = {"none": b"", "lf": b"\n", "crlf": b"\r\n"}


def _wait(text: str) -> float:
    return 0.0 if text == "0" else seconds(text)


@click.command(
    epilog="""\b
Example: netd talk tcp://localhost:7037
More:
  netd talk --name alex udp://localhost:9999
  netd talk --every 10s --send '{now}' udp://localhost:9999
  netd talk --every 2s --count 5 --send '{seq} {time:%T}' tcp://localhost:7007
  echo 'ping 42' | netd talk tcp://localhost:8888
  netd talk --cafile ca.pem tls://localhost:7443
  echo ping | netd talk --end none tcp://localhost:8000
  netd talk --service chat --name operator
"""
)
@click.argument("endpoint", metavar="[URL]", required=False, callback=parsed(client_endpoint))
@click.option(
    "--service",
    metavar="NAME",
    shell_complete=candidates.services_on,
    help="Instead of a URL: a service of this host's netd, through its control socket.",
)
@click.option("--room", hidden=True)  # the old name of --service
@click.option("--name", callback=parsed(check_name), metavar="NAME", help="Put `NAME : ` before each line, for a chat.")
@click.option(
    "--every",
    callback=parsed(seconds),
    metavar="DURATION",
    help="Send the text of --send now, and again every 10s, 2m, …",
)
@click.option(
    "--send",
    "template",
    callback=parsed(Template),
    metavar="TEXT",
    help="The text for --every: {now} is the Unix timestamp, {seq} counts from 1, {time:%H:%M} is strftime(3).",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after --every has sent N times.")
@click.option(
    "--end",
    type=click.Choice(list(_ENDS)),
    help="The line end that is sent. Default: lf, as typed. With none a line over a stream waits until the one before "
    "is answered, or for a second.",
)
@click.option(
    "--wait",
    callback=parsed(_wait),
    metavar="DURATION",
    help="How long to wait for another answer after the input has ended; 0: for none. Default: 1s over datagrams, and "
    "after a last line `q` or `bye` or Ctrl-D; over a stream at the end of a pipe, until the other end closes.",
)
@tls_options
@control_options
def talk(
    client: ControlClient,
    endpoint: Endpoint | None,
    service: str | None,
    room: str | None,
    name: str | None,
    every: float | None,
    template: Template | None,
    count: int | None,
    end: str | None,
    wait: float | None,
    tls: TlsOptions,
) -> int:
    """Talk to a service, line by line.

    The URL is tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT, unix:///PATH or unixgram:///PATH (or @NAME for an
    abstract one).

    Each line is sent when it is entered (over datagrams: as one datagram), and answers are shown as they arrive. The
    conversation ends at the end of input (Ctrl-D), with a line `q` or `bye`, which is sent, after --count, or when the
    other end closes.

    Of a pipe all lines are sent, the last one without a line end if it has none: a `q` or `bye` ends the conversation
    only if no input follows for a second. With --every, the end of a pipe such as /dev/null ends the conversation only
    if its last line is one of these.
    """
    if [endpoint, service, room].count(None) != 2:
        raise click.UsageError("expected either a URL or --service")
    if (every is None) != (template is None):
        raise click.UsageError("--every and --send need each other")
    if count is not None and every is None:
        raise click.UsageError("--count needs --every")
    schedule = None if every is None or template is None else Schedule(template, every, count)
    tls.check_wanted(() if endpoint is None else (endpoint,))
    with contextlib.closing(_connect(endpoint, tls) if endpoint else _attach(client, str(service or room))) as link:
        run_conversation(link, _user_interface(link, name), name, schedule, wait, None if end is None else _ENDS[end])
    return EXIT_OK


def _connect(endpoint: Endpoint, tls: TlsOptions) -> Link:
    """A link to an endpoint, after the handshake where it has TLS. Raises `UnreachableError`."""
    settings = tls.of(endpoint)
    bare = connect(endpoint)
    if settings is None:
        return bare
    link = TlsLink(bare, settings)
    try:
        asyncio.run(link.handshake())
    except BaseException:
        link.close()
        raise
    return link


def _attach(client: ControlClient, service: str) -> Link:
    """A link to a service of a running netd. Raises the `OperatorError` of netd's refusal."""
    link = ControlLink(client.paths(), service)
    try:
        check_response(link.answer)
    except BaseException:
        link.close()
        raise
    return link


def _user_interface(link: Link, name: str | None) -> UserInterface:
    """A terminal with a prompt and history, where standard input and output are one; else a pipe."""
    if not (sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"):
        return Pipe()
    from netd.client.talk.terminal import Terminal

    address = f" ({link.address})" if link.address not in link.url else ""
    click.echo(f"talking to {link.url}{address}; q, bye or Ctrl-D ends it", err=True)
    if isinstance(link, TlsLink):
        click.echo(link.security, err=True)
    return Terminal(f"{name} : " if name else "> ")
