"""``netd config``: the config in force with where each value came from, and an example config."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from netd.cli.completion import candidates
from netd.cli.control import ControlClient, answers_checked, control_option
from netd.cli.options import json_option
from netd.cli.output import print_json
from netd.errors import EXIT_OK, UsageError
from netd.text import printable

_LONGEST_LINE = 110
_MOST_ITEMS = 10  # of a list in a comment


@click.command(epilog="Example: netd config --defaults echo")
@click.argument("service", required=False, shell_complete=candidates.configured_services)
@click.option("--defaults", is_flag=True, help="Show keys that nothing sets too, with their built-in defaults.")
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path, readable=False),
    help="Read this config file, in place of asking the running netd.",
)
@control_option
@json_option
@click.option("--example", is_flag=True, help="Print an example config, with every key, its default and the reason.")
def config(
    service: str | None, *, defaults: bool, file: Path | None, path: str | None, as_json: bool, example: bool
) -> int:
    """Show the config that is in force in the running netd, or that of a FILE; of one SERVICE what holds for it.

    The output is a config. Each line ends with where its value came from: FILE:LINE; `defaults`, for the section of
    that name; a command such as `netd disable`; `default`, if nothing sets it. What does not stand in the section
    itself is commented out, so that netd would take the output for the same config. Files are shown as they were when
    netd read them. The content of keys and certificates is in no config, and is not shown.

    --example prints /etc/netd/netd.yaml as `make install` puts it there.
    """
    if example:
        if service or defaults or file or path or as_json:
            raise UsageError(["--example takes no service and no other option"])
        from netd.config.loader import EXAMPLE_FILE  # only here, since it takes long

        click.echo(EXAMPLE_FILE.read_text(), nl=False)
        return EXIT_OK
    if file:
        _show(_read(file, service, defaults=defaults), as_json=as_json)
        return EXIT_OK
    client = ControlClient(None, path)
    with answers_checked(client):
        answer = client.ask("config", service=service, defaults="yes" if defaults else None)
        _show({key: value for key, value in answer.received.items() if key != "ok"}, as_json=as_json)
    return EXIT_OK


def _read(file: Path, service: str | None, *, defaults: bool) -> dict[str, Any]:
    """What a file has, in the form of an answer of netd. Raises `ConfigError` and `UsageError`."""
    from netd.config import in_force, loader  # only here, since it takes long
    from netd.steps import finish
    from netd.text import suggestion

    found = loader.load(file)
    names = [one.name for one in found.services]
    if service is not None and service not in names:
        raise UsageError([f"there is no service '{printable(service[:64])}'{suggestion(service[:64], names)}"])
    values = finish(in_force.values(found, in_force.Commands(), service, defaults=defaults))
    return {
        "config": found.source,
        "pid": None,
        "generation": None,
        "values": [value.fields() for value in values],
    }


def _show(answer: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        click.echo("\n".join(_lines(answer)))


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """The config as YAML."""
    source = printable(str(answer["config"]))
    if answer["pid"] is None:
        yield f"# {source}"
    else:
        yield f"# in force in netd (pid {int(answer['pid'])}): generation {int(answer['generation'])} of {source}"
    tree: dict[str, Any] = {}
    for value in answer["values"]:
        *above, key = value["path"]
        section = tree
        for step in above:
            section = section.setdefault(step, {})
        section[key] = _Leaf(value)
    for name, section in tree.items():
        yield ""
        yield from _section(name, section, 0)


class _Leaf:
    """The value of a key, and where it came from."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.value = fields["value"]
        self.origin = origin_text(fields)
        self.file = fields["file"]
        self.lines = fields.get("lines", ())
        # The files of `include` are in the output already.
        self.commented_out = fields["origin"] in ("built-in", "defaults") or fields["path"][0] == "include"


def origin_text(fields: Mapping[str, Any]) -> str:
    """Where a value came from, for people."""
    place = printable(f"{fields['file']}:{fields['line']}")
    match fields["origin"]:
        case "file":
            return place
        case "defaults":
            return f"defaults, {place}"
        case "command":
            if fields["path"][-1] == "enabled":
                return f"netd {'enable' if fields['value'] else 'disable'}"
            return "netd log-level"
    return "default"


def _section(key: str, content: Any, depth: int) -> Iterator[str]:
    from netd.importers.yaml_text import flow, scalar  # only here, since it takes long

    indent = "  " * depth
    if not isinstance(content, _Leaf):
        yield f"{indent}{scalar(key)}:"
        for number, (name, inner) in enumerate(content.items()):
            if number and key == "services" and not depth:
                yield ""
            yield from _section(name, inner, depth + 1)
        return
    value = content.value
    if content.commented_out:
        more = len(value) - _MOST_ITEMS if isinstance(value, list) else 0
        text = flow([*value[:_MOST_ITEMS]])[:-1] + f", and {more} more]" if more > 0 else flow(value)
        yield f"{indent}#{scalar(key)}: {text}  # {content.origin}"
        return
    line = f"{indent}{scalar(key)}: {flow(value)}"
    if isinstance(value, list) and value and (content.lines or len(line) > _LONGEST_LINE):
        yield f"{indent}{scalar(key)}:  # {content.origin}"
        for number, item in enumerate(value):
            place = f"  # {printable(f'{content.file}:{content.lines[number]}')}" if content.lines else ""
            yield f"{indent}  - {flow(item)}{place}"
    else:
        yield f"{line}  # {content.origin}"
