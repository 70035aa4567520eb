"""What is checked of the banners of a service, and their files, which are read here."""

import os
import stat
from collections.abc import Iterator

from netd import paths
from netd.admission.banner import LONGEST, NO_BANNERS, BannerFile, Banners, text_octets
from netd.config.model import ServiceSection
from netd.config.problems import Finding
from netd.endpoints import Endpoint
from netd.values import Model

_BY_ITSELF = "mode: listener: the program accepts by itself, so netd sends no banner"
_NO_STREAM = "no endpoint of the service has connections: a banner is for streams"
_RESET = "refuse: reset discards what was sent before"


def read(section: ServiceSection, listen: tuple[Endpoint, ...], options: Model) -> tuple[Banners, list[Finding]]:
    """The octets of the banners of a service, and what is wrong with them."""
    banner = section.banner
    if banner is None:
        return NO_BANNERS, []
    findings = [*_of_service(section, listen, options)]
    octets = dict.fromkeys(type(banner).model_fields, b"")
    for key in octets:
        piece = getattr(banner, key)
        try:
            octets[key] = read_file(piece.path) if isinstance(piece, BannerFile) else text_octets(piece or "")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            # What this host does not have may come before the service is enabled.
            findings.append(Finding(("banner", key), f"{piece.path}: {reason}", is_notice=not section.enabled))
    always, refused = octets["always"], octets["always"] + octets["refused"]
    return Banners(always + octets["accepted"], b"" if section.refuse == "reset" else refused), findings


def _of_service(section: ServiceSection, listen: tuple[Endpoint, ...], options: Model) -> Iterator[Finding]:
    if getattr(options, "mode", None) == "listener":
        yield Finding(("banner",), _BY_ITSELF)
    elif not section.tcpmux and not any(endpoint.transport not in ("udp", "unixgram") for endpoint in listen):
        yield Finding(("banner",), _NO_STREAM)
    if section.refuse == "reset" and section.banner and section.banner.refused:
        yield Finding(("banner", "refused"), _RESET, "leave it out, or set refuse: close")


def read_file(path: str) -> bytes:
    """The octets of a file. Raises OSError also for one that another user can have put there; ValueError."""
    descriptor = paths.open_file(path, os.O_RDONLY, 0, follow=True)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no regular file")
        data = opened.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} octets")
    return data
