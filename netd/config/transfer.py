"""A checked config on its way from the process that read it to the one that uses it: as JSON, and not checked again.

The access rules, of which there may be many, are no part of it: they lie in memory that both processes have.

Options of services are the exception: they are objects of the service's class, which are made from what the file says.
"""

import json
from collections.abc import Generator
from typing import Any

from netd.admission.access_memory import AccessPlace, AccessTables
from netd.admission.bans import BanRules
from netd.admission.policy import Policy
from netd.config.model import Config, DaemonSection, LogSection, ServiceConfig
from netd.endpoints import Endpoint
from netd.services import table


def dump(config: Config) -> dict[str, Any]:
    """The config as JSON has it; each service is a text of its own, so that it can be read piece by piece."""
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
                    "listen": [str(endpoint) for endpoint in service.listen],
                    "access": _place(service.access),
                    "policy": service.policy.model_dump_json(),
                    "given": service.given,
                }
            )
            for service in config.services
        ],
    }


def _place(place: AccessPlace) -> tuple[str, int, int, bool]:
    return place.digest.hex(), place.offset, place.length, place.asks_groups


def restore(dumped: dict[str, Any], tables: AccessTables) -> Generator[None, None, Config]:
    """The config that was dumped. Yields after each piece of the work, so that others can have their turn."""
    services = []
    for text in dumped["services"]:
        entry = json.loads(text)
        kind = table.find(entry["type"])
        assert kind is not None, "the config was checked"
        policy = Policy.model_validate_json(entry["policy"])
        options = kind.options.model_validate_json(json.dumps(entry["given"]))
        digest, offset, length, asks_groups = entry["access"]
        services.append(
            ServiceConfig.model_construct(
                name=entry["name"],
                type=kind.name,
                enabled=entry["enabled"],
                listen=tuple(map(Endpoint.parse, entry["listen"])),
                access=AccessPlace(bytes.fromhex(digest), tables, offset, length, asks_groups),
                policy=policy,
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
        notices=tuple(dumped["notices"]),
    )
