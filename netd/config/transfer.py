"""Transfer of a checked config to another process: as JSON, which is not checked again.

The access rules, of which there may be many, are not included: they are in memory that both processes share. Nor are
the files of TLS, which only the descriptors of `tls_files` give access to.

Options of services are checked again: they are objects of the service's class, which are built from the file's values.
"""

import base64
import json
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from netd.admission.access_memory import AccessPlace, AccessTables
from netd.admission.banner import Banners
from netd.admission.bans import BanRules
from netd.admission.policy import Policy
from netd.config.model import Code, Config, DaemonSection, LogSection, ServiceConfig
from netd.config.problems import Mark, Problem
from netd.endpoints import Endpoint
from netd.services import table
from netd.tls.sealed_files import SealedFiles
from netd.tls.service_files import Identity, ServiceFiles


def dump(config: Config) -> dict[str, Any]:
    """The config as values for JSON. Each service is a JSON text in it, so that `restore` can parse one at a time."""
    numbers = {id(files): number for number, files in enumerate(tls_files(config))}
    return {
        "source": config.source,
        "daemon": config.daemon.model_dump(),
        "log": config.log.model_dump(),
        "bans": config.bans.model_dump_json(),
        "notices": config.notices,
        "origins": [base64.b85encode(one).decode() for one in config.origins],
        "services": [
            json.dumps(
                {
                    "name": service.name,
                    "type": service.type,
                    "enabled": service.enabled,
                    "listen": [(str(endpoint), endpoint.place) for endpoint in service.listen],
                    "access": _place(service.access),
                    "policy": service.policy.model_dump_json(),
                    "banners": banner_texts(service.banners),
                    "isolate": service.isolate,
                    "log_connections": service.log_connections,
                    "given": service.given,
                    "tls_files": _dumped(service.tls_files, numbers),
                    "code": service.code and service.code.model_dump(),
                }
            )
            for service in config.services
        ],
    }


def banner_texts(banners: Banners) -> tuple[str, str]:
    """Banners as text, of which each character stands for an octet."""
    return banners.accepted.decode("latin-1"), banners.refused.decode("latin-1")


def tls_files(config: Config) -> list[SealedFiles]:
    """The files of TLS of a config, each once."""
    found: dict[int, SealedFiles] = {}
    for files in (service.tls_files for service in config.services if service.tls_files):
        for one in (*(one.files for one in files.identities), files.trust, files.to_trust, files.to_certificate):
            if one:
                found[id(one)] = one
    return list(found.values())


def _dumped(files: ServiceFiles | None, numbers: dict[int, int]) -> object:
    """The files of a service, each by its number in `tls_files`."""
    if files is None:
        return None
    identities = [(numbers[id(one.files)], one.path, one.names, one.not_after) for one in files.identities]
    return identities, *(
        numbers[id(one)] if one else None for one in (files.trust, files.to_trust, files.to_certificate)
    )


def _restored(dumped: Any, files: Sequence[SealedFiles]) -> ServiceFiles | None:
    if dumped is None:
        return None
    identities, *others = dumped
    return ServiceFiles(
        tuple(Identity(files[number], path, tuple(names), not_after) for number, path, names, not_after in identities),
        *(None if number is None else files[number] for number in others),
    )


def _place(place: AccessPlace) -> tuple[str, int, int, bool]:
    return place.digest.hex(), place.offset, place.length, place.asks_groups


def restore(
    dumped: dict[str, Any], tables: AccessTables, sealed: Sequence[SealedFiles] = ()
) -> Generator[None, None, Config]:
    """Restore a dumped config; ``sealed`` is its `tls_files`.

    Yields after each service, so that the caller can do other work in between.
    """
    services = []
    for text in dumped["services"]:
        entry = json.loads(text)
        kind = table.find_again(entry["type"])
        assert kind is not None, "the config was checked"
        policy = Policy.model_validate_json(entry["policy"])
        options = kind.options.model_validate_json(json.dumps(entry["given"]))
        digest, offset, length, asks_groups = entry["access"]
        services.append(
            ServiceConfig.model_construct(
                name=entry["name"],
                type=kind.name,
                enabled=entry["enabled"],
                listen=tuple(
                    replace(Endpoint.parse(url), place=place, number=number)
                    for number, (url, place) in enumerate(entry["listen"])
                ),
                access=AccessPlace(bytes.fromhex(digest), tables, offset, length, asks_groups),
                policy=policy,
                banners=Banners(*(text.encode("latin-1") for text in entry["banners"])),
                isolate=entry["isolate"],
                log_connections=entry["log_connections"],
                options=options,
                given=entry["given"],
                tls_files=_restored(entry["tls_files"], sealed),
                code=Code(**entry["code"]) if entry["code"] else None,
            )
        )
        yield
    return Config.model_construct(
        source=dumped["source"],
        daemon=DaemonSection.model_construct(**dumped["daemon"]),
        log=LogSection.model_construct(**dumped["log"]),
        bans=BanRules.model_validate_json(dumped["bans"]),
        services=tuple(services),
        access_tables=tables,
        origins=tuple(base64.b85decode(one) for one in dumped["origins"]),
        notices=tuple(Problem(Mark(*mark), tuple(path), *texts) for mark, path, *texts in dumped["notices"]),
    )
