"""``netd trace``: the data that a service receives and sends, live."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from netd.cli.completion import candidates
from netd.cli.control import ControlClient, control_options
from netd.cli.options import peer_option
from netd.errors import EXIT_OK, NotRunningError
from netd.reasons import FORMAT_VERSION
from netd.text import escaped

_SIGNS = {"opened": "+", "in": "<", "out": ">", "end": "|", "unanswered": "?", "closed": "-"}
_TEXT = 64  # octets shown as text in one line; --hex shows all that were captured
_ROW = 16  # octets in a line of --hex


@click.command(epilog="Example: netd trace echo --peer 192.0.2.7")
@click.argument("service", shell_complete=candidates.services)
@peer_option("Only that of this address (with or without port) or network.")
@click.option("--hex", "as_hex", is_flag=True, help="Show octets in hexadecimal, beside their characters.")
@control_options
@click.option("--json", "as_json", is_flag=True, help="Print each line as a JSON object.")
def trace(client: ControlClient, service: str, peer: str | None, *, as_hex: bool, as_json: bool) -> int:
    """Show the data that a service receives and sends, until Ctrl-C: time, direction, peer, and the first octets.

    \b
    +  a connection is opened       <  octets or a datagram received
    -  a connection is closed       >  octets or a datagram sent
    |  the peer has finished sending
    ?  the peer gets no answer as yet, and why

    Where a proxy has named the peer, lines with + and - say which.

    The service does not wait for the trace: messages that cannot be shown in time are skipped and counted. Of a long
    message only the beginning is shown; octets that netd moves with splice(2) (echo, in bulk) are only counted.
    """  # noqa: D301  # the backslash is for click, which keeps the lines behind it as they are
    with contextlib.suppress(KeyboardInterrupt):
        [status] = client.ask("status", service=service)["services"]
        messages = client.follow("trace", service=service, peer=peer)
        click.echo(f"tracing {service}; press Ctrl-C to stop", err=True)
        click.echo("refused connections are not shown; netd explain says what decides about a peer", err=True)
        if not status["enabled"]:
            click.echo(f"{service} is off; its connections are shown once it is on", err=True)
        for message in messages:
            if as_json:
                click.echo(json.dumps({"format_version": FORMAT_VERSION, **message.received}))
            else:
                for line in _lines(message, as_hex=as_hex):
                    click.echo(line)
        raise NotRunningError(["netd closed the control connection"])
    return EXIT_OK


def _lines(message: Mapping[str, Any], *, as_hex: bool) -> Iterator[str]:
    """The lines that show a message of the trace."""
    if "skipped" in message:
        yield f"({message['skipped']} skipped)"
        return
    when = float(message["time"])
    size = int(message["size"])
    clock = time.strftime("%H:%M:%S", time.localtime(when))
    head = f"{clock}.{int(when % 1 * 1e6):06d} {_SIGNS[message['what']]} {message['peer']}"
    if message["what"] == "unanswered":
        yield f"{head} {message['text']}"
        return
    data = bytes.fromhex(message["data"])
    if message["what"] not in ("in", "out"):
        yield head + (f" via {message['via']}" if "via" in message else "")
    elif size and not data:
        yield f"{head} {size} (not captured)"
    elif as_hex:
        yield f"{head} {size}"
        for start in range(0, len(data), _ROW):
            row = data[start : start + _ROW]
            yield f"    {start:04x}  {row.hex(' '):<{3 * _ROW - 1}}  {_characters(row)}"
        if size > len(data):
            yield f"    ({size - len(data)} more)"
    else:
        shown = data[:_TEXT]
        more = f" ({size - len(shown)} more)" if size > len(shown) else ""
        yield f'{head} {size} "{_escaped(shown)}"{more}'


def _escaped(data: bytes) -> str:
    """Octets as text that is safe for a terminal: printable ASCII, and the rest escaped as in C."""
    return escaped(data.decode("latin-1")).replace('"', '\\"')


def _characters(data: bytes) -> str:
    return "".join(chr(octet) if 32 <= octet < 127 else "." for octet in data)
