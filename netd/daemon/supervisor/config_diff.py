"""What a new config changes: compared service by service, without doing anything."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from netd.config.model import Config, ServiceConfig
from netd.endpoints import Endpoint

What = Literal["added", "removed", "enabled", "disabled", "changed"]

_LIVE = ("workers", "connections", "drain", "beat")  # socket_keys of `daemon:` that a reload puts in force
_LIVE_LOG = ("level", "access")


@dataclass(frozen=True)
class Change:
    """What becomes of one service."""

    service: str
    what: What
    details: tuple[str, ...]
    """The socket_keys that differ, and the endpoints that come (``+``) and go (``-``)."""
    connections: Literal["untouched", "drained"]
    """What becomes of its live connections."""


def compare(old: Config, new: Config) -> list[Change]:
    """The services that are not as before, in the order of their names."""
    before = {service.name: service for service in old.services}
    after = {service.name: service for service in new.services}
    return [
        change
        for name in sorted({*before, *after})
        if (change := _compare_service(name, before.get(name), after.get(name)))
    ]


def _compare_service(name: str, old: ServiceConfig | None, new: ServiceConfig | None) -> Change | None:
    if new is None:
        return Change(name, "removed", (), "drained")
    if old is None:
        return Change(name, "added", () if new.enabled else ("off",), "untouched")
    if old == new:
        return None
    details = (*_differing(old, new), *_endpoints(old, new))
    if old.enabled != new.enabled:
        what: What = "enabled" if new.enabled else "disabled"
        return Change(name, what, details, "untouched" if new.enabled else "drained")
    return Change(name, "changed", details, "untouched") if details else None


def _differing(old: ServiceConfig, new: ServiceConfig) -> Iterator[str]:
    if old.type != new.type:
        yield f"type: {old.type} -> {new.type}"
    before, after = _flat(old, new), _flat(new, old)
    for key, value in before.items():
        if value != after[key]:
            yield f"{key}: {_text(value)} -> {_text(after[key])}"
    if old.type == new.type and old.options != new.options:
        for key in type(old.options).model_fields:
            if getattr(old.options, key) != getattr(new.options, key):
                yield f"options.{key}"


def _flat(service: ServiceConfig, other: ServiceConfig) -> dict[str, object]:
    """The rules and the policy by key (``limits.idle``), as they are written in a file; rules where they differ."""
    flat: dict[str, object] = {}
    if service.access != other.access:
        flat |= {f"access.{key}": texts for key, texts in service.access.read().rules.items()}
    for key, value in service.policy.model_dump(mode="json").items():
        flat |= {f"limits.{inner}": one for inner, one in value.items()} if key == "limits" else {key: value}
    return flat


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _endpoints(old: ServiceConfig, new: ServiceConfig) -> Iterator[str]:
    for endpoint in old.listen:
        if endpoint not in new.listen:
            yield f"-{endpoint}"
    for endpoint in new.listen:
        if endpoint not in old.listen:
            yield f"+{endpoint}"


def settings_changed(old: Config, new: Config) -> list[str]:
    """What differs besides the services and is in force after a reload."""
    found = []
    for section, keys_of in (("daemon", _LIVE), ("log", _LIVE_LOG), ("bans", tuple(type(old.bans).model_fields))):
        before, after = (getattr(config, section).model_dump(mode="json") for config in (old, new))
        found += [
            f"{section}.{key}: {_text(before[key])} -> {_text(after[key])}"
            for key in keys_of
            if before[key] != after[key]
        ]
    return found


def serves_otherwise(old: ServiceConfig, new: ServiceConfig) -> bool:
    """Whether new connections are to be served in another way than before; where it listens is another matter."""
    return (old.type, old.access, old.policy, old.options) != (new.type, new.access, new.policy, new.options)


def restart_needed(old: Config, new: Config) -> list[str]:
    """The socket_keys that differ and that only a new start puts in force."""
    found: list[str] = []
    for section, live in (("daemon", _LIVE), ("log", _LIVE_LOG)):
        before, after = getattr(old, section), getattr(new, section)
        found += [
            f"{section}.{key}"
            for key in type(before).model_fields
            if key not in live and getattr(before, key) != getattr(after, key)
        ]
    return found


SocketKey = tuple[object, ...]
"""What makes an endpoint the same place as before: all that cannot change while a socket is bound."""


def socket_keys(config: Config) -> dict[SocketKey, tuple[ServiceConfig, Endpoint]]:
    """Where the config's enabled services listen."""
    found: dict[SocketKey, tuple[ServiceConfig, Endpoint]] = {}
    for service in config.enabled:
        for endpoint in service.listen:
            options = endpoint.options
            key: SocketKey = (endpoint.transport, endpoint.host, endpoint.port, endpoint.path, endpoint.name)
            key += (options.device, options.reuse_port, options.freebind)
            if endpoint.port == 0 and endpoint.host:
                # The kernel chooses a port for each of these, so there may be several.
                key += (service.name,)
                while key in found:
                    key += ("again",)
            found[key] = (service, endpoint)
    return found
