"""Compares a new config with the one in force, service by service. It changes nothing."""

import json
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from netd.config.model import Config, ServiceConfig
from netd.endpoints import Endpoint
from netd.services import table
from netd.telemetry.service_events import ConnectionLog

What = Literal["added", "removed", "enabled", "disabled", "changed"]

LIVE = ("workers", "connections", "drain", "on_stop", "heartbeat")
"""The keys of `daemon` that a reload applies; the others need a restart."""
LIVE_LOG = ("level", "connections")
"""Likewise those of `log`."""

SocketKey = tuple[object, ...]
"""Identifies a socket across configs: all properties of an endpoint that cannot change while a socket is bound."""
Sockets = dict[SocketKey, tuple[ServiceConfig, Endpoint]]


@dataclass(frozen=True)
class Change:
    """The change of one service."""

    service: str
    what: What
    details: tuple[str, ...]
    """The keys that differ, and the endpoints that are added (``+``) and removed (``-``)."""
    drain: float | None = None
    """Seconds that its open connections have to finish if it is no longer served; None: they are not affected."""


@dataclass(frozen=True)
class ConfigDiff:
    """The changes in a new config, and what they mean for sockets, workers and connections."""

    config: Config
    """The new config."""
    changes: tuple[Change, ...]
    """The services that changed, in the order of their names."""
    settings: tuple[str, ...]
    """The other changes that a reload applies."""
    restart_needed: tuple[str, ...]
    """The keys that differ from the config netd was started with, and that only a restart applies."""
    reconfigured: frozenset[str]
    """Services that stay enabled, and serve new connections in another way. Endpoints do not count."""
    new_counters: frozenset[str]
    """Services that are enabled now, or have another type: no worker has their counters yet."""
    sockets: Sockets
    """The sockets of the enabled services."""

    @cached_property
    def draining(self) -> dict[str, float]:
        """The services that are no longer served, and the seconds that their connections have to finish."""
        return {change.service: change.drain for change in self.changes if change.drain is not None}

    def dump(self) -> dict[str, Any]:
        """As JSON, for `restore`: without the config, and without the sockets, which follow from the config."""
        return {
            "changes": [asdict(change) for change in self.changes],
            "settings": self.settings,
            "restart_needed": self.restart_needed,
            "reconfigured": sorted(self.reconfigured),
            "new_counters": sorted(self.new_counters),
        }


def restore(dumped: dict[str, Any], config: Config) -> Generator[None, None, ConfigDiff]:
    """The diff that was dumped; ``config`` is its config. Yields after each piece of the work."""
    changes = []
    for change in dumped["changes"]:
        changes.append(Change(**{**change, "details": tuple(change["details"])}))
        yield
    return ConfigDiff(
        config,
        tuple(changes),
        tuple(dumped["settings"]),
        tuple(dumped["restart_needed"]),
        frozenset(dumped["reconfigured"]),
        frozenset(dumped["new_counters"]),
        (yield from _sockets(config)),
    )


def from_nothing(config: Config) -> Generator[None, None, ConfigDiff]:
    """The diff between no services and this config. Yields after each piece of the work."""
    return compare(config.model_copy(update={"services": ()}), config, config)


def compare(old: Config, new: Config, initial: Config) -> Generator[None, None, ConfigDiff]:
    """Compare ``new`` with ``old``, in a netd that was started with ``initial``.

    Yields after each piece of the work.
    """
    before = {service.name: service for service in old.services}
    after = {service.name: service for service in new.services}
    changes: list[Change] = []
    reconfigured: set[str] = set()
    new_counters: set[str] = set()
    for name in sorted({*before, *after}):
        yield
        was, now = before.get(name), after.get(name)
        if was is now or was == now:
            continue
        if change := _compare_service(name, was, now):
            changes.append(change)
        if now is None or not now.enabled:
            continue
        if was is None or not was.enabled or was.type != now.type:
            new_counters.add(name)
        if was and was.enabled and _reconfigured(was, now):
            reconfigured.add(name)
    return ConfigDiff(
        new,
        tuple(changes),
        tuple(_settings_changed(old, new)),
        tuple(_restart_needed(initial, new)),
        frozenset(reconfigured),
        frozenset(new_counters),
        (yield from _sockets(new)),
    )


def _compare_service(name: str, old: ServiceConfig | None, new: ServiceConfig | None) -> Change | None:
    """The change of a service with another config; None if only the text of the config differs."""
    drain = old.policy.limits.drain if old and old.enabled and not (new and new.enabled) else None
    if new is None:
        return Change(name, "removed", (), drain)
    if old is None:
        return Change(name, "added", () if new.enabled else ("off",))
    details = (*_differing(old, new), *_endpoints(old, new))
    if old.enabled != new.enabled:
        return Change(name, "enabled" if new.enabled else "disabled", details, drain)
    return Change(name, "changed", details) if details else None


def _differing(old: ServiceConfig, new: ServiceConfig) -> Iterator[str]:
    if old.type != new.type:
        yield f"type: {old.type} -> {new.type}"
    before, after = _flat(old, new), _flat(new, old)
    for key, value in before.items():
        if value != after[key]:
            yield f"{key}: {_text(value)} -> {_text(after[key])}"
    if old.policy.tls == new.policy.tls and old.tls_files != new.tls_files:
        yield "tls: renewed files"
    if old.policy.banner == new.policy.banner and old.banners != new.banners:
        yield "banner: changed files"
    if old.isolate != new.isolate:
        yield f"isolate: {_text(old.isolate)} -> {_text(new.isolate)}"
    if old.log_connections != new.log_connections:
        yield f"log_connections: {_logged(old.log_connections)} -> {_logged(new.log_connections)}"
    if old.type == new.type and old.options != new.options:
        # Some models have values that they do not declare.
        before, after = dict(old.options), dict(new.options)
        for key in {**before, **after}:
            if before.get(key) != after.get(key):
                yield f"options.{key}"
    if old.code and new.code and old.code != new.code:
        yield "code"


def _flat(service: ServiceConfig, other: ServiceConfig) -> dict[str, object]:
    """The policy by key (``limits.idle``) as a file has it, and the access rules if they differ."""
    flat: dict[str, object] = {}
    if service.access != other.access:
        flat |= {f"access.{key}": texts for key, texts in service.access.read().rules.items()}
    for key, value in service.policy.written().items():
        nested = value.items() if key in ("limits", "tls") else ()
        flat |= {f"{key}.{inner}": one for inner, one in nested} if nested else {key: value}
    return flat


def _logged(mode: ConnectionLog | None) -> str:
    if mode is None:
        return "as log.connections"
    return f"sample {mode}" if isinstance(mode, int) else mode


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


def _settings_changed(old: Config, new: Config) -> Iterator[str]:
    for section, keys_of in (("daemon", LIVE), ("log", LIVE_LOG), ("bans", tuple(type(old.bans).model_fields))):
        before, after = (getattr(config, section).written() for config in (old, new))
        for key in keys_of:
            if before[key] != after[key]:
                yield f"{section}.{key}: {_text(before[key])} -> {_text(after[key])}"


def _reconfigured(old: ServiceConfig, new: ServiceConfig) -> bool:
    before = (old.type, old.access, old.policy, old.banners, old.options, old.tls_files, old.code)
    return before != (new.type, new.access, new.policy, new.banners, new.options, new.tls_files, new.code)


def _restart_needed(initial: Config, new: Config) -> Iterator[str]:
    for section, live in (("daemon", LIVE), ("log", LIVE_LOG)):
        before, after = getattr(initial, section), getattr(new, section)
        for key in type(before).model_fields:
            if key not in live and getattr(before, key) != getattr(after, key):
                yield f"{section}.{key}"
    for name in sorted({service.type for service in new.services}):
        if table.is_outdated(name):
            yield f"code of service type '{name}'"


def _sockets(config: Config) -> Generator[None, None, Sockets]:
    found: Sockets = {}
    for service in config.enabled:
        yield
        for endpoint in service.listen:
            options = endpoint.options
            key: SocketKey = (endpoint.socket_transport, endpoint.host, endpoint.port, endpoint.path, endpoint.name)
            key += (options.device, options.reuse_port, options.freebind)
            if endpoint.port == 0 and endpoint.host:
                # The kernel chooses a port for each of these, so there may be several.
                key += (service.name,)
                while key in found:
                    key += ("again",)
            found[key] = (service, endpoint)
    return found
