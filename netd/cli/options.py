"""Options that several commands share, and the parsing of arguments."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from netd.peer_filter import PeerFilter

C = TypeVar("C", bound=Callable[..., Any])
T = TypeVar("T")

_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)

config_option = click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path, readable=False),
    help="The config file. Default: /etc/netd/netd.yaml if there, else a built-in config on loopback.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as a JSON object.")


def peer_option(explanation: str) -> Callable[[C], C]:
    """The option ``--peer``, which selects connections by the peer's address."""
    from netd.cli.completion import candidates  # here, since `netd run` does without

    return click.option(
        "--peer", metavar="PEER", callback=_check_peer, shell_complete=candidates.peers, help=explanation
    )


def _check_peer(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """Accept an address with or without port, a network, or a UNIX peer as `netd connections` shows it."""
    if text is None or text.startswith(("/", "@", "pid=", "uid=")) or PeerFilter(text).network:
        return text
    raise click.BadParameter(f"expected an address, a network or a peer as netd connections shows it, got {text!r}")


def seconds(text: str) -> float:
    """Seconds, from a duration as in the config, ``250ms`` or ``5m``, or from a number of seconds: ``5``, ``0.5``."""
    from netd.values import parse_duration  # only here, since it takes long

    return parse_duration(f"{text}s" if _NUMBER.fullmatch(text) else text)


def parsed(parse: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    """A callback of click that parses an argument; a ValueError becomes a usage error that names the argument."""

    def callback(context: click.Context, parameter: click.Parameter, text: str | None) -> T | None:
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback
