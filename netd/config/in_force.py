"""What is in force, key by key, and where each value came from: a file, `defaults:`, a command, or netd itself.

A value that a file gives is as the file has it; all others are in the notation of a config. So what is made of them can
be loaded again, and is the same config.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from netd.config import origins
from netd.config.model import Config, ServiceConfig
from netd.config.origins import Node
from netd.config.programs import not_held
from netd.values import Model

Origin = Literal["file", "defaults", "command", "built-in"]
Path = tuple[str, ...]


@dataclass(frozen=True)
class Value:
    """The value of a key."""

    path: Path
    """Its keys from the top, as ``services``, ``echo``, ``limits``, ``idle``."""
    value: Any
    origin: Origin
    """`defaults`: the section of a file; `command`: `netd enable`, `disable` or `log-level`."""
    file: str | None = None
    """The file that gives it; None: no file does."""
    line: int | None = None
    lines: tuple[int, ...] = ()
    """The line of each item of a list, if they stand in several."""

    def fields(self) -> dict[str, Any]:
        """The value for JSON; ``lines`` only where it has some."""
        fields = {"path": self.path, "value": self.value, "origin": self.origin, "file": self.file, "line": self.line}
        return fields | ({"lines": self.lines} if self.lines else {})


@dataclass(frozen=True)
class Commands:
    """What commands have changed since the config was read."""

    enabled: Mapping[str, bool] = field(default_factory=dict)
    log_level: str | None = None


@dataclass(frozen=True)
class _From:
    """A place that may give values: a mapping of a file."""

    file: str
    node: Node | None
    origin: Origin = "file"

    def inner(self, key: str) -> "_From":
        """The place of what a key of the mapping has."""
        return _From(self.file, origins.inner(self.node, key), self.origin)


def values(
    config: Config, commands: Commands, service: str | None = None, *, defaults: bool = False
) -> Generator[None, None, list[Value]]:
    """What is in force, of all or for one service: what files and commands give; with ``defaults`` all other keys too.

    A service that there is not has no values. Yields after each piece of the work.
    """
    if not config.origins:
        return []
    file, nodes = origins.unpack(config.origins[0])
    yield
    main = _From(file, [0, nodes])
    found: list[Value] = []

    def add(some: Iterable[Value]) -> None:
        found.extend(one for one in some if defaults or one.origin != "built-in")

    if service is None:
        add(_settings(config, commands, main))
    add(_defaults_section(main))
    services = {one.name: one for one in config.services if service in (None, one.name)}
    for packed in config.origins:
        file, nodes = origins.unpack(packed)
        part = _From(file, nodes.get("services"))
        for name in [name for name in keys_of(part) if name in services]:
            add(_service(services[name], part.inner(name), main.inner("defaults"), commands))
            yield
        yield
    return found


def keys_of(place: _From) -> list[str]:
    """The keys that a place gives."""
    given = place.node[1] if place.node else None
    return list(given) if isinstance(given, dict) else []


def _settings(config: Config, commands: Commands, main: _From) -> Iterator[Value]:
    """The sections for netd as a whole."""
    if include := origins.inner(main.node, "include"):
        yield from _given(("include",), include, main)
    for section in ("daemon", "log", "bans"):
        for value in _model((section,), getattr(config, section), (main.inner(section),)):
            if value.path == ("log", "level") and commands.log_level not in (None, value.value):
                yield Value(value.path, commands.log_level, "command")
            else:
                yield value


def _defaults_section(main: _From) -> Iterator[Value]:
    """The section `defaults:`, as the file has it; what it means for a service is told with that."""
    if (node := origins.inner(main.node, "defaults")) and node[1]:
        yield from _given(("defaults",), node, main)


def _service(service: ServiceConfig, own: _From, defaults: _From, commands: Commands) -> Iterator[Value]:
    path = ("services", service.name)
    inherited = _From(defaults.file, defaults.node, "defaults")
    yield from _key((*path, "type"), service.type, (own,))
    if service.name in commands.enabled:
        yield Value((*path, "enabled"), service.enabled, "command")
    else:
        yield from _key((*path, "enabled"), service.enabled, (own,))
    yield from _key((*path, "listen"), [str(endpoint) for endpoint in service.listen], (own,))
    for key, rules in service.access.read().rules.items():
        yield from _key((*path, "access", key), rules, (own.inner("access"), inherited.inner("access")))
    policy = service.policy
    unknown = not_held(service.options)
    limits = (own.inner("limits"), inherited.inner("limits"))
    yield from (one for one in _model((*path, "limits"), policy.limits, limits) if one.path[-1] not in unknown)
    for key, value in policy.written().items():
        if key not in ("limits", "tls"):
            yield from _key((*path, key), value, (own,))
    if any(endpoint.transport == "tls" for endpoint in service.listen):
        tls, inherited = own.inner("tls"), inherited.inner("tls")
        for value in _model((*path, "tls"), policy.tls, (tls, inherited)):
            if value.path[-1] == "key" and value.origin == "defaults" and "certificate" in keys_of(tls):
                yield Value(value.path, None, "built-in")  # that key is of another certificate
            else:
                yield value
    yield from _key((*path, "log_connections"), service.log_connections, (own,))
    yield from _model((*path, "options"), service.options, (own.inner("options"),))


def _model(path: Path, model: Model, places: Sequence[_From]) -> Iterator[Value]:
    """The keys of a section, each from the first place that gives it, else as the model has it.

    A place may give keys that the model does not declare: the options of a class that takes any.
    """
    written = _written(model)
    names = {one.alias or name: name for name, one in type(model).model_fields.items() if name in written}
    given = [key for place in places for key in keys_of(place) if key not in names]
    for key in [*names, *dict.fromkeys(given)]:
        name = names.get(key, key)
        inner = getattr(model, name, None)
        yield from _key((*path, key), written.get(name), places, inner if isinstance(inner, Model) else None)


def _written(model: Model) -> dict[str, Any]:
    try:
        return model.written()
    except Exception:  # the options of a class from another package may not be values of JSON
        return {}


def _key(path: Path, value: Any, places: Sequence[_From], model: Model | None = None) -> Iterator[Value]:
    """A key: from the first place that gives it, else this value. ``model``: the value, if it is a mapping."""
    for place in places:
        if node := origins.inner(place.node, path[-1]):
            if model and keys_of(place.inner(path[-1])):
                yield from _model(path, model, (place.inner(path[-1]),))
            else:
                yield from _given(path, node, place)
            return
    if model:
        yield from _model(path, model, ())
    else:
        yield Value(path, value, "built-in")


def _given(path: Path, node: Node, place: _From) -> Iterator[Value]:
    """A value as a file has it; of a mapping each key."""
    if isinstance(node[1], dict) and node[1]:
        for key, one in node[1].items():
            yield from _given((*path, key), one, place)
        return
    lines = tuple(origins.item_lines(node))
    yield Value(path, origins.value_of(node), place.origin, place.file, node[0], lines if len(set(lines)) > 1 else ())
