"""What is checked of a service with TLS: its options, and the files that they name, which are read here, each once."""

import os
import time
from collections.abc import Iterator
from typing import Any

from netd.config.key_check import check_apart
from netd.config.model import ServiceSection
from netd.config.problems import Finding
from netd.endpoints import Endpoint
from netd.errors import InvalidValueError
from netd.tls.options import TlsOptions, merge
from netd.tls.sealed_files import SealedFiles
from netd.tls.service_files import Identity, ServiceFiles
from netd.values import Model

_BY_ITSELF = "mode: listener: the program accepts by itself, so netd can do no TLS"
_RELAYED = "it cannot be false: behind TLS the program gets a socket pair, and netd encrypts what passes it"
_UNUSED = "no endpoint of the service has TLS"
_CERTIFICATE, _CLIENT_CA, _CRL = ("tls", "certificate"), ("tls", "client_ca"), ("tls", "crl")


class TlsReader:
    """Reads the files of TLS of a config."""

    def __init__(self) -> None:
        self._identities: dict[tuple[str, ...], Identity | None] = {}
        self._trusts: dict[tuple[str, ...], SealedFiles | None] = {}

    def read(
        self, defaults: TlsOptions, section: ServiceSection, listen: tuple[Endpoint, ...], options: Model
    ) -> tuple[TlsOptions, ServiceFiles | None, list[Finding]]:
        """The options of a service, merged with the defaults, the content of its files, and what is wrong.

        Without an endpoint with TLS it has neither. What is wrong with a file is said once.
        """
        numbers = [number for number, endpoint in enumerate(listen) if endpoint.transport == "tls"]
        if not numbers:
            has_tcp = any(endpoint.transport == "tcp" for endpoint in listen)
            hint = "write tls:// in place of tcp:// in listen" if has_tcp else "tls://HOST:PORT in listen has it"
            unused = Finding(("tls",), _UNUSED, hint)
            return TlsOptions(), None, [unused] * bool(section.tls.model_fields_set)
        tls = merge(defaults, section.tls)
        found = [*_of_options(tls, section.tls, numbers[0])]
        if getattr(options, "mode", None) == "listener":
            found.append(Finding(("listen", numbers[0]), _BY_ITSELF))
        elif getattr(options, "relay", True) is False:
            found.append(Finding(("options", "relay"), _RELAYED, "leave it out"))
        if found:
            return tls, None, found
        identities: list[Identity] = []
        for number, certificate in enumerate(tls.certificate):
            pair = (certificate, tls.key[number]) if tls.key else (certificate,)
            if pair not in self._identities:
                where = (*_CERTIFICATE, number) if len(tls.certificate) > 1 else _CERTIFICATE
                self._identities[pair] = None
                try:
                    found += self._read_identity(pair, where)
                except InvalidValueError as error:
                    found.append(Finding(where, error.message, error.hint))
            if identity := self._identities[pair]:
                identities.append(identity)
        trust = self._read_trust(tls, found)
        if not section.enabled:  # what this host does not have may come before it is enabled
            found = [one._replace(is_notice=True) for one in found]
        if any(not one.is_notice for one in found) or len(identities) < len(tls.certificate):
            return tls, None, found
        return tls, ServiceFiles(tuple(identities), trust), found

    def _read_identity(self, pair: tuple[str, ...], where: tuple[str | int, ...]) -> Iterator[Finding]:
        """Read a certificate with its key. `InvalidValueError`: it cannot be used."""
        from netd.tls.certificates import read_certificate  # only here: other configs need no OpenSSL
        from netd.tls.contexts import server_context

        files = copy_files(pair)
        try:
            certificate = read_certificate(files)
            check_apart(lambda: server_context(TlsOptions(), files.path, None))
        except ValueError as error:
            raise InvalidValueError(f"{' and '.join(pair)}: {error}") from None
        self._identities[pair] = Identity(files, pair[0], certificate.names, certificate.not_after)
        now = time.time()
        if certificate.not_after < now:
            yield Finding(where, f"{pair[0]} has expired on {_date(certificate.not_after)}", is_notice=True)
        elif certificate.not_before > now:
            yield Finding(where, f"{pair[0]} is not valid before {_date(certificate.not_before)}", is_notice=True)
        if certificate.missing_issuer:
            message = f"{pair[0]} does not have the certificate of its issuer, {certificate.missing_issuer}"
            hint = "append it: clients that do not have it refuse to connect"
            yield Finding(where, message, hint, is_notice=True)
        if os.stat(pair[-1]).st_mode & 0o004:
            message = f"every user of this host can read the key in {pair[-1]}"
            yield Finding(where, message, "chmod o= it", is_notice=True)

    def _read_trust(self, tls: TlsOptions, found: list[Finding]) -> SealedFiles | None:
        """Read the authorities of clients, and their revocation lists."""
        paths = tuple(path for path in (tls.client_ca, tls.crl) if path and tls.client != "none")
        if paths and paths not in self._trusts:
            import ssl  # only here: other configs need no OpenSSL

            from netd.tls.certificates import invalid_lists
            from netd.tls.contexts import load_trust

            self._trusts[paths] = None
            try:
                files = copy_files(paths)
                load_trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files.path, has_crl=tls.crl is not None)
                for authority, when, has_ended in invalid_lists(files, time.time()) if tls.crl else ():
                    what = "has expired on" if has_ended else "is not valid before"
                    message = f"{tls.crl}: the list of {authority} {what} {_date(when)}"
                    hint = "until there is a valid one, none of its certificates is valid"
                    found.append(Finding(_CRL, message, hint, is_notice=True))
                self._trusts[paths] = files
            except InvalidValueError as error:
                found.append(Finding(_CLIENT_CA, error.message, error.hint))
            except ValueError as error:
                found.append(Finding(_CLIENT_CA, f"{' and '.join(paths)}: {error}"))
        return self._trusts.get(paths)


def relayed(given: dict[str, Any], listen: tuple[Endpoint, ...], model: type[Model]) -> dict[str, Any]:
    """The options of a service. A program behind TLS gets a socket pair (`relay`), and not the connection."""
    needs = "relay" in model.model_fields and "relay" not in given and given.get("mode") != "listener"
    return {**given, "relay": True} if needs and any(one.transport == "tls" for one in listen) else given


def _of_options(tls: TlsOptions, own: TlsOptions, listener: int) -> Iterator[Finding]:
    """What is wrong with options, whatever is in the files."""
    if not tls.certificate:
        yield Finding(("listen", listener), "tls:// needs a certificate", "set tls.certificate and tls.key")
    if len(tls.key) not in (0, len(tls.certificate)):
        message = f"expected as many keys as certificates, {len(tls.certificate)}, got {len(tls.key)}"
        yield Finding(("tls", "key"), message)
    if tls.client != "none" and not tls.client_ca:
        yield Finding(("tls", "client"), f"client: {tls.client} needs the authorities of clients", "set tls.client_ca")
    if tls.client == "none" and "client_ca" in own.model_fields_set and own.client_ca:
        yield Finding(_CLIENT_CA, "client: none asks for no certificate", "set tls.client to required")
    if tls.crl and not tls.client_ca:
        yield Finding(_CRL, "revocation lists are those of authorities of clients", "set tls.client_ca")
    if tls.ciphers:
        import ssl  # only here: other configs need no OpenSSL

        from netd.tls.contexts import set_ciphers

        try:
            set_ciphers(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls.ciphers)
        except ValueError as error:
            yield Finding(("tls", "ciphers"), str(error))


def copy_files(paths: tuple[str, ...]) -> SealedFiles:
    """Copy files. `InvalidValueError`: one cannot be read."""
    try:
        return SealedFiles.copy(paths)
    except OSError as error:
        hint = "netd reads it as the user that it is started as; under systemd see the drop-in tls.conf"
        hint *= isinstance(error, PermissionError)
        raise InvalidValueError(f"cannot read {error.filename}: {error.strerror}", hint) from None
    except ValueError as error:
        raise InvalidValueError(str(error)) from None


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
