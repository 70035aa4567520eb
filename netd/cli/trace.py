"""``netd trace``: what comes and goes at a service, as it happens."""

import contextlib
import json
import time
from collections.abc import Iterator

import click

from netd.cli.control import Ask, json_option, peer_option, talks
from netd.client.control import Answer
from netd.errors import EXIT_OK, NotRunningError
from netd.text import escaped, printable

_SIGNS = {"opened": "+", "in": "<", "out": ">", "end": "|", "closed": "-"}
_TEXT = 64  # octets shown as text in one line; --hex shows all there are
_ROW = 16  # octets in a line of --hex


@click.command(epilog="Example: netd trace echo --peer 192.0.2.7")
@click.argument("service")
@peer_option("That of this address alone (with or without port), or network.")
@click.option("--hex", "as_hex", is_flag=True, help="Show octets in hexadecimal, beside their characters.")
@talks
@json_option
def trace(ask: Ask, service: str, peer: str | None, *, as_hex: bool, as_json: bool) -> int:
    """Show what comes and goes at a service, until Ctrl-C: when, what, peer, and the first octets.

    \b
    +  a connection begins          <  octets or a datagram came
    -  a connection is over         >  octets or a datagram went
    |  the peer has finished sending

    The service does not wait for it: what cannot be shown in time is left out, and how much that was is said. Of long
    messages the beginning is shown; octets that netd moves without looking at them (echo, in bulk) are counted only.
    """  # noqa: D301  # the backslash is for click, which keeps the lines behind it as they are
    with contextlib.suppress(KeyboardInterrupt):
        lines = ask.follow("trace", service=service, peer=peer)
        click.echo(f"looking at {service}; Ctrl-C ends it", err=True)
        for line in lines:
            if as_json:
                click.echo(json.dumps(line))
            else:
                for text in _lines(line, as_hex=as_hex):
                    click.echo(text)
        raise NotRunningError(["netd is gone"])
    return EXIT_OK


def _lines(line: Answer, *, as_hex: bool) -> Iterator[str]:
    """What a message of the trace looks like."""
    if "skipped" in line:
        yield f"({line['skipped']} left out)"
        return
    when = float(line["time"])
    size = int(line["size"])
    data = bytes.fromhex(line["data"])
    clock = time.strftime("%H:%M:%S", time.localtime(when))
    head = f"{clock}.{int(when % 1 * 1e6):06d} {_SIGNS[line['what']]} {printable(line['peer'])}"
    if line["what"] not in ("in", "out"):
        yield head
    elif size and not data:
        yield f"{head} {size} (not looked at)"
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
    """Octets as a terminal may have them: printable ASCII, and the rest as in a C string."""
    return escaped(data.decode("latin-1")).replace('"', '\\"')


def _characters(data: bytes) -> str:
    return "".join(chr(octet) if 32 <= octet < 127 else "." for octet in data)
