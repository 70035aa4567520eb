"""The man pages, in the Markdown that `roff.py` reads: texts of `pages/`, with the options and commands in them."""

import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from netd import endpoints, errors
from netd.admission.access import AccessRules
from netd.admission.bans import BanRules
from netd.admission.limits import Limits
from netd.cli import exit_codes
from netd.config.model import DaemonSection, DefaultsSection, FileSection, LogSection, ServiceSection
from netd.services import table
from netd.services.exec.options import ProgramOptions
from netd.services.service_type import ServiceType
from netd.tls.options import TlsOptions
from netd.values import Model
from tools.reference.commands import Command, CommandOption, commands
from tools.reference.markdown import paragraphs, prose
from tools.reference.options import Option, notations, options_of, value_text
from tools.reference.roff import page
from tools.reference.source import docstrings, filled

_SHARED = 5
"""An option that so many commands have is explained once."""
_CLIENTS = ("talk", "probe")


def man_pages() -> Iterator[tuple[str, str]]:
    """The name and the text of each page."""
    known = {command.name: command for command in commands()}
    yield "netd.8", page("netd", 8, filled("netd.8.md", _of_netd(list(known.values()))))
    yield "netd.yaml.5", page("netd.yaml", 5, filled("netd.yaml.5.md", _of_config()))
    for name in _CLIENTS:
        text = filled(f"netd-{name}.1.md", _of_client(known[name]))
        yield f"netd-{name}.1", page(f"netd-{name}", 1, text)


def _of_netd(known: list[Command]) -> dict[str, str]:
    numbers = Counter(option for command in known for option in command.options)
    shared = sorted((one for one, number in numbers.items() if number >= _SHARED), key=lambda one: one.names)
    codes = {getattr(errors, name): text for name, text in docstrings(errors).items()}
    return {
        "commands": "\n\n".join(_command(command, shared) for command in known if command.name not in _CLIENTS),
        "shared options": _command_options(shared),
        "exit codes": _exit_codes(codes),
    }


def _command(command: Command, shared: list[CommandOption]) -> str:
    more = "" if command.is_group else " ".join(["[OPTIONS]"] * bool(command.options) + [command.arguments]).strip()
    title = f"## netd {command.name} {more}".strip()
    own = [option for option in command.options if option not in shared]
    others = ", ".join(f"`{option.long}`" for option in command.options if option in shared)
    also = f"Also {others}, as below." if others else ""
    example = f"Example:\n\n    {command.examples[0]}" if command.examples else ""
    parts = [title, *map(_text, command.paragraphs), _command_options(own), also, example]
    return "\n\n".join(part for part in parts if part)


def _of_client(command: Command) -> dict[str, str]:
    return {
        "synopsis": f"`netd {command.name}` [*OPTIONS*] {command.arguments.replace('URL', '*URL*')}",
        "description": "\n\n".join(_text(one) for one in command.paragraphs if not one.startswith("Exit code")),
        "options": _command_options(command.options),
        "exit codes": _exit_codes(
            {errors.EXIT_USAGE: "the command line is wrong", **exit_codes.OF_COMMAND[command.name]}
        ),
        "examples": "\n".join(f"    {one}" for one in command.examples),
    }


def _exit_codes(codes: Mapping[int, str]) -> str:
    return "\n\n".join(f"`{code}`\n: {_sentence(_words(text))}" for code, text in sorted(codes.items()))


def _sentence(text: str) -> str:
    text = text if text.startswith("netd") else f"{text[:1].upper()}{text[1:]}"
    return f"{text.removesuffix('.')}."


def _command_options(options: Iterable[CommandOption]) -> str:
    return "\n\n".join(f"{_names(option.names)}\n: {_words(option.meaning)}" for option in options)


def _names(names: str) -> str:
    """``-c, --config PATH``, with the names as code and the value in italics."""
    words = [
        f"`{word.rstrip(',')}`{',' * word.endswith(',')}" if word.startswith("-") else f"*{word}*"
        for word in names.split(" ")
    ]
    return " ".join(words)


def _text(paragraph: str) -> str:
    return paragraph if paragraph.startswith("    ") else _words(paragraph)


def _words(text: str) -> str:
    """A help text as Markdown: options, and names of variables, as code."""
    text = re.sub(r"(?<![\w`-])(--?[a-z][a-z-]*)(?![\w`])", r"`\1`", prose(text))
    return re.sub(
        r"  \[(?:x>=(\d+)|(.*?))\]$", lambda more: f" (at least {more[1]})" if more[1] else f" ({more[2]})", text
    )


def _of_config() -> dict[str, str]:
    return {
        "values": "\n\n".join(f"*{one.name}*\n: {prose(one.meaning)}" for one in notations() if one.meaning),
        "top": _options(FileSection, ("include", "services")),
        "daemon": _options(DaemonSection, prefix="daemon."),
        "log": _options(LogSection, prefix="log."),
        "bans": _options(BanRules, prefix="bans."),
        "defaults": "\n\n".join(
            f"`defaults.{name}`\n: As `{name}` of a service: see {name.upper()}."
            for name in DefaultsSection.model_fields
        ),
        "service": _options(ServiceSection),
        "access": _options(AccessRules, prefix="access."),
        "limits": _options(Limits, prefix="limits."),
        "tls": _options(TlsOptions, prefix="tls."),
        "endpoint options": _endpoint_options(),
        "types": "\n\n".join(_type(ServiceType.of(one, name), one) for name, one in sorted(table.BUILT_IN.items())),
        "program options": _options(ProgramOptions),
    }


def _options(model: type[Model], only: Iterable[str] = (), *, without: Iterable[str] = (), prefix: str = "") -> str:
    """The options of a model and of the mappings in it, but for those that have a section of their own."""
    sections = {"tls": TlsOptions, "limits": Limits, "access": AccessRules}
    found = []
    for option in options_of(model):
        if option.name in without or (only and option.name not in only):
            continue
        found.append(_option(option, prefix))
        if option.inner and not only and sections.get(option.name) is not option.inner:
            found.append(_options(option.inner, prefix=f"{prefix}{option.name}.{'NAME.' * option.by_name}"))
    return "\n\n".join(found)


def _option(option: Option, prefix: str) -> str:
    default = "" if option.default is None else f"; `{option.default}`" if option.default != "unset" else "; unset"
    kind = re.sub(r"(`[^`]+`)|([^`]+)", lambda match: match[1] or f"*{match[2]}*", option.kind)
    first, *rest = paragraphs(prose(option.meaning))
    head = f"`{prefix}{option.name}`  ({kind}{'; required' if option.required else default})"
    return "\n".join([f"{head}\n: {first}", *(f"\n: {one}" for one in rest)])


def _endpoint_options() -> str:
    meanings = docstrings(endpoints, "SocketOptions")
    found = []
    for name, meaning in meanings.items():
        schemes = ", ".join(f"`{scheme}`" for scheme, names in endpoints.KEYS.items() if name in names)
        default = getattr(endpoints.SocketOptions(), name)
        text = (
            "on"
            if default is True
            else "off"
            if default is False
            else f"{default:04o}"
            if name == "mode"
            else value_text(default)
        )
        found.append(
            f"`{name}`  (`{text}`; {schemes})\n: {' '.join(prose(meaning).split())}".replace("`unset`", "unset")
        )
    return "\n\n".join(found)


def _type(kind: ServiceType, service: type) -> str:
    serves = [name for name, has in (("streams", kind.streams), ("datagrams", kind.datagrams)) if has]
    traits = f"It serves {' and '.join(serves)}{f', as RFC {kind.rfc} has it' if kind.rfc else ''}."
    first, *rest = paragraphs(prose(inspect.getdoc(service) or ""))
    own = ProgramOptions.model_fields if kind.starts_programs else ()
    if own:
        traits += " It has these options, and those of all programs, which follow below."
    parts = [f"## {kind.name}", f"{first} {traits}", *rest, _options(kind.options, without=own)]
    return "\n\n".join(part for part in parts if part)
