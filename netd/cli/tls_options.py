"""The options of clients for TLS: what is verified of the server, and the certificate of this side."""

import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, TypeVar

import click

from netd.addresses import parse_address
from netd.cli.options import parsed
from netd.endpoints import Endpoint
from netd.errors import UsageError
from netd.text import shown
from netd.tls.client import ClientTls, client_context

C = TypeVar("C", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False)


@dataclass(frozen=True)
class TlsOptions:
    """The options that were given."""

    insecure: bool
    cafile: str | None
    servername: str | None
    cert: str | None
    key: str | None

    def check_wanted(self, endpoints: Iterable[Endpoint]) -> None:
        """Raise UsageError for options that exclude each other, or that no endpoint has a use for."""
        if self.insecure and self.cafile:
            raise UsageError(["--insecure and --cafile exclude each other; give one of them"])
        if self.key and not self.cert:
            raise UsageError(["--key needs --cert"])
        given = [name for name, value in vars(self).items() if value]
        if given and not any(endpoint.transport == "tls" for endpoint in endpoints):
            raise UsageError([f"--{given[0]} is for a URL that begins with tls://"])

    def of(self, endpoint: Endpoint) -> ClientTls | None:
        """What connections to an endpoint need; None: it has no TLS. Raises UsageError for files of no use."""
        if endpoint.transport != "tls":
            return None
        return ClientTls(self._context, self.servername or endpoint.host.partition("%")[0].rstrip("."))

    @cached_property
    def _context(self) -> ssl.SSLContext:
        try:
            client_context(self.cafile, insecure=self.insecure)
        except (ValueError, OSError) as error:
            raise UsageError([f"--cafile {self.cafile}: {_text(error)}"]) from None
        try:
            return client_context(self.cafile, self.cert, self.key, insecure=self.insecure)
        except (ValueError, OSError) as error:
            file = f"--cert {self.cert}" + (f", --key {self.key}" if self.key else "")
            raise UsageError([f"{file}: {_text(error)}"]) from None


def _text(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _server_name(text: str) -> str:
    name = text.removesuffix(".")
    try:
        parse_address(name)
    except ValueError:
        if len(name) > 253 or not re.fullmatch(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}", name):
            raise ValueError(f"expected a name or an address, got {shown(text)}") from None
    return name


_OPTIONS = (
    click.option("--insecure", is_flag=True, help="tls://: do not verify the certificate of the server."),
    click.option(
        "--cafile",
        type=_FILE,
        metavar="FILE",
        help="tls://: trust the certificates in this file (PEM). Default: those of this host.",
    ),
    click.option(
        "--servername",
        callback=parsed(_server_name),
        metavar="NAME",
        help="tls://: ask for this host (SNI), for which the certificate has to be. Default: that of the URL.",
    ),
    click.option("--cert", type=_FILE, metavar="FILE", help="tls://: a certificate of this side (PEM)."),
    click.option("--key", type=_FILE, metavar="FILE", help="tls://: its key. Default: in the file of --cert."),
)


def tls_options(command: C) -> C:
    """Add the options to a command, which gets them as ``tls``."""

    @wraps(command)
    def with_tls(
        *arguments: Any,
        insecure: bool,
        cafile: str | None,
        servername: str | None,
        cert: str | None,
        key: str | None,
        **others: Any,
    ) -> Any:
        return command(*arguments, tls=TlsOptions(insecure, cafile, servername, cert, key), **others)

    decorated: Any = with_tls
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]
