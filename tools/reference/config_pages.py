"""The pages about the config: `config.md` for what all services have, `services.md` for the options of their types."""

import inspect
import re
from collections.abc import Collection, Iterable

from netd import endpoints
from netd.admission.access import AccessRules
from netd.admission.bans import BanRules
from netd.admission.limits import Limits
from netd.config.model import DaemonSection, DefaultsSection, FileSection, LogSection, ServiceSection
from netd.config.renamed import RENAMED
from netd.daemon.supervisor.config_diff import LIVE, LIVE_LOG
from netd.services import table
from netd.services.exec.options import ProgramOptions
from netd.services.service_type import ServiceType
from netd.tls.options import TlsOptions
from netd.values import Model
from tools.reference import markdown
from tools.reference.links import linked
from tools.reference.markdown import anchor, paragraphs, prose, wrapped
from tools.reference.options import Option, notations, options_of, value_text
from tools.reference.source import docstrings, filled

_SECTIONS: dict[str, type[Model]] = {
    "daemon": DaemonSection,
    "log": LogSection,
    "bans": BanRules,
    "defaults": DefaultsSection,
    "services": ServiceSection,
    "access": AccessRules,
    "limits": Limits,
    "tls": TlsOptions,
}
"""The keys that have a section of the page, with the model of it."""
_RESTART = "A change needs a restart."


def config_page() -> str:
    """The page with all keys but the options of service types."""
    parts = {
        "values": markdown.table(
            ("value", "how it is written"),
            [(one.name, prose(one.meaning)) for one in notations() if one.meaning],
        ),
        "top": _options(FileSection),
        "daemon": _options(DaemonSection, prefix="daemon.", live=LIVE),
        "log": _options(LogSection, prefix="log.", live=LIVE_LOG),
        "bans": _options(BanRules, prefix="bans."),
        "service": _options(ServiceSection),
        "access": _options(AccessRules, prefix="access."),
        "limits": _options(Limits, prefix="limits."),
        "tls": _options(TlsOptions, prefix="tls."),
        "endpoints": _endpoint_options(),
    }
    return _with_contents(filled("config.md", parts))


def services_page() -> str:
    """The page with the service types."""
    kinds = {name: ServiceType.of(one, name) for name, one in sorted(table.BUILT_IN.items())}
    rows = [
        (
            f"[`{name}`](#{anchor(name)})",
            str(kind.rfc or ""),
            "yes" if kind.streams else "",
            "yes" if kind.datagrams else "",
            prose(kind.summary),
        )
        for name, kind in kinds.items()
    ]
    parts = {
        "index": markdown.table(("type", "RFC", "streams", "datagrams", "what it does"), rows),
        "types": "\n\n".join(_type(kind, table.BUILT_IN[name]) for name, kind in kinds.items()),
        "programs": _options(ProgramOptions, title="programs"),
    }
    return filled("services.md", parts)


def _with_contents(page: str) -> str:
    titles = re.findall(r"(?m)^## (.*)$", page)
    links = " · ".join(f"[{title}](#{anchor(title)})" for title in titles)
    return page.replace("{{contents}}", wrapped(links))


def _type(kind: ServiceType, service: type) -> str:
    first, *rest = paragraphs(linked(prose(inspect.getdoc(service) or "")))
    own = ProgramOptions.model_fields if kind.starts_programs else ()
    options = _options(kind.options, without=own, title=kind.name)
    parts = [f"## {kind.name}", wrapped(first), *map(wrapped, rest), wrapped(_traits(kind)), options]
    return "\n\n".join(part for part in parts if part)


def _traits(kind: ServiceType) -> str:
    """How it is served, in sentences."""
    serves = " and ".join(name for name, has in (("streams", kind.streams), ("datagrams", kind.datagrams)) if has)
    told = [
        f"It serves {serves}{f' ([RFC {kind.rfc}](https://www.rfc-editor.org/rfc/rfc{kind.rfc}))' if kind.rfc else ''}."
    ]
    if kind.listens:
        told = ["It serves streams, and with `mode: listener` datagrams."]
    if kind.single_worker:
        told.append("One worker serves all of its peers.")
    if kind.blocks:
        told.append("Each connection takes a thread of its worker.")
    if kind.polled:
        told.append("Its connections are logged at debug by default.")
    if kind.starts_programs:
        told.append("It has these options, and [those of all programs](#options-of-programs).")
    if not kind.options.model_fields:
        told.append("It has no options.")
    return " ".join(told)


def _options(
    model: type[Model],
    *,
    without: Collection[str] = (),
    prefix: str = "",
    title: str = "",
    live: Collection[str] | None = None,
) -> str:
    """A table of the options of a model, and the text of each.

    ``title`` stands before the name of each in its own title. Those that are not ``live`` need a restart.
    """
    found = [(name, option) for name, option in _all(model, prefix) if name.partition(".")[0] not in without]
    if not found:
        return ""
    heads = {name: f"`{title}`: `{name}`" if title else f"`{name}`" for name, _ in found}
    rows = [(f"[`{name}`](#{anchor(heads[name])})", option.kind, _default(option)) for name, option in found]
    index = markdown.table(("key", "type", "default"), rows)
    texts = [
        _option(heads[name], name, option, live, "#values" if model in _SECTIONS.values() else "config.md#values")
        for name, option in found
        if not _has_section(option)
    ]
    return "\n\n".join([index, *texts])


def _all(model: type[Model], prefix: str) -> Iterable[tuple[str, Option]]:
    """The options of a model and of the mappings in it, by name, without those that have a section of their own."""
    for option in options_of(model):
        name = f"{prefix}{option.name}"
        yield name, option
        if option.inner and not _has_section(option):
            yield from _all(option.inner, f"{name}.{'NAME.' * option.by_name}")


def _has_section(option: Option) -> bool:
    return option.inner is not None and _SECTIONS.get(option.name) is option.inner


def _option(head: str, name: str, option: Option, live: Collection[str] | None, values: str) -> str:
    section, _, key = name.rpartition(".")
    old = next((one for one, new in RENAMED.get(section, {}).items() if new == key), "")
    kind = option.kind
    for one in option.notations:
        if one.meaning:
            kind = re.sub(
                rf"{one.name.replace('time of', 'times? of')}s?", lambda word: f"[{word[0]}]({values})", kind, count=1
            )
    facts = [
        kind,
        "required" if option.required else f"default {_default(option)}" if _default(option) else "",
    ]
    text = linked(prose(option.meaning), values.removesuffix("#values"))
    if live is not None and key not in live:
        text += f" {_RESTART}"
    if old:
        text += f" The old name is `{old}`."
    return "\n\n".join([f"### {head}", wrapped("; ".join(filter(None, facts))), *map(wrapped, paragraphs(text))])


def _default(option: Option) -> str:
    if option.required:
        return "required"
    return "" if option.default is None else "unset" if option.default == "unset" else f"`{option.default}`"


def _endpoint_options() -> str:
    rows = []
    for name, meaning in docstrings(endpoints, "SocketOptions").items():
        value = getattr(endpoints.SocketOptions(), name)
        default = {True: "on", False: "off"}.get(value) if isinstance(value, bool) else value_text(value)
        shown = f"{value:04o}" if name == "mode" else default
        schemes = [scheme for scheme, names in endpoints.KEYS.items() if name in names]
        rows.append(
            (
                f"`{name}`",
                "unset" if shown == "unset" else f"`{shown}`",
                ", ".join(schemes),
                " ".join(prose(meaning).split()),
            )
        )
    return markdown.table(("option", "default", "for", "meaning"), rows)
