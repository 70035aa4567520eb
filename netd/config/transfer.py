"""Transfer of a checked config to another process: as JSON, which is not checked again.

The access rules, of which there may be many, are not included: they are in memory that both processes share.

Options of services are checked again: they are objects of the service's class, which are built from the file's values.
"""

import json
from collections.abc import Generator
from dataclasses import replace
from typing import Any

from netd.admission.access_memory import AccessPlace, AccessTables
from netd.admission.bans import BanRules
from netd.admission.policy import Policy
from netd.config.model import Config, DaemonSection, LogSection, ServiceConfig
from netd.config.problems import Mark, Problem
from netd.endpoints import Endpoint
from netd.services import table


def dump(config: Config) -> dict[str, Any]:
    """The config as values for JSON. Each service is a JSON text in it, so that `restore` can parse one at a time."""
    return {
        "source": config.source,
        "daemon": config.daemon.model_dump(),
        "log": config.log.model_dump(),
        "bans": config.bans.model_dump_json(),
        "notices": config.notices,
        "services": [
            json.dumps(
                {
                    "name": service.name,
                    "type": service.type,
                    "enabled": service.enabled,
                    "listen": [(str(endpoint), endpoint.place) for endpoint in service.listen],
                    "access": _place(service.access),
                    "policy": service.policy.model_dump_json(),
                    "log_connections": service.log_connections,
                    "given": service.given,
                }
            )
            for service in config.services
        ],
    }


def _place(place: AccessPlace) -> tuple[str, int, int, bool]:
    return place.digest.hex(), place.offset, place.length, place.asks_groups


def restore(dumped: dict[str, Any], tables: AccessTables) -> Generator[None, None, Config]:
    """Restore a dumped config. Yields after each service, so that the caller can do other work in between."""
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
                log_connections=entry["log_connections"],
                options=options,
                given=entry["given"],
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
        notices=tuple(Problem(Mark(*mark), tuple(path), *texts) for mark, path, *texts in dumped["notices"]),
    )
