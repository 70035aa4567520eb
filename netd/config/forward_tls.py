"""What is checked of TLS to targets: its options, and the files that they name, which are read here."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from netd.config.key_check import check_apart
from netd.config.model import DaemonSection
from netd.config.problems import Finding
from netd.config.tls import copy_files
from netd.errors import InvalidValueError
from netd.services.forward.options import ForwardOptions
from netd.services.forward.to_tls import ToTls
from netd.tls.sealed_files import SealedFiles
from netd.tls.service_files import ServiceFiles

_KEY = ("options", "to_tls")


def read(
    options: ForwardOptions, files: ServiceFiles | None, daemon: DaemonSection, *, enabled: bool
) -> tuple[ServiceFiles | None, list[Finding]]:
    """The files of a service, with those for its targets, and what is wrong with them and with the options.

    Workers in a chroot do not see the authorities of the host, so that those are read here too.
    """
    to_tls = options.to_tls
    if not any(target.transport == "tls" for target in options.to):
        has_tcp = any(target.transport == "tcp" for target in options.to)
        hint = "write tls:// in place of tcp:// in to" if has_tcp else "tls://HOST:PORT in to has it"
        unused = Finding(_KEY, "no target has TLS", hint)
        return files, [unused] * bool(to_tls.model_fields_set)
    found = [*_of_options(to_tls)]
    if found:
        return files, found
    from netd.tls.client import client_context, host_authorities  # only here: other configs need no OpenSSL

    def copied(name: str, paths: tuple[str, ...], use: Callable[[str], object]) -> SealedFiles | None:
        try:
            copy = copy_files(paths)
            use(copy.path)
        except InvalidValueError as error:
            found.append(Finding((*_KEY, name), error.message, error.hint))
        except ValueError as error:
            found.append(Finding((*_KEY, name), f"{' and '.join(paths)}: {error}"))
        else:
            return copy
        return None

    trust = certificate = None
    if to_tls.ca:
        trust = copied("ca", (to_tls.ca,), client_context)
    elif to_tls.verify and daemon.chroot is not None:
        if authorities := host_authorities():
            trust = copied("ca", authorities, client_context)
        else:
            message = "this host has no certificates of authorities to verify a target with"
            found.append(Finding((*_KEY, "ca"), message, "set to_tls.ca, or install ca-certificates"))
    if to_tls.certificate:
        paths = (to_tls.certificate, to_tls.key) if to_tls.key else (to_tls.certificate,)
        certificate = copied(
            "certificate", paths, lambda path: check_apart(lambda: client_context(None, path, insecure=True))
        )
        if certificate and os.stat(paths[-1]).st_mode & 0o004:
            message = f"every user of this host can read the key in {paths[-1]}"
            found.append(Finding((*_KEY, "certificate"), message, "chmod o= it", is_notice=True))
    if not enabled:  # what this host does not have may come before it is enabled
        found = [one._replace(is_notice=True) for one in found]
    return replace(files or ServiceFiles((), None), to_trust=trust, to_certificate=certificate), found


def _of_options(options: ToTls) -> Iterator[Finding]:
    """What is wrong with options, whatever is in the files."""
    if options.key and not options.certificate:
        yield Finding((*_KEY, "key"), "a key needs its certificate", "set to_tls.certificate")
    if not options.verify and options.ca:
        yield Finding((*_KEY, "ca"), "verify: false: no certificate is verified", "leave out one of them")
