"""``netd services``: the service types and their options."""

import json
from typing import Any

import click

from netd.cli.output import print_json, table
from netd.errors import EXIT_NO, EXIT_OK, UsageError
from netd.services.service_type import ServiceType
from netd.services.table import find, names
from netd.text import suggestion
from netd.values import Model


@click.command(epilog="Example: netd services time", short_help="List the service types, or describe one.")
@click.argument("name", metavar="[TYPE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def services(name: str | None, as_json: bool) -> int:
    """List the service types, or describe one: its purpose, RFC, transports and options."""
    kinds, problems = [], []
    for one in [name] if name else names():
        try:
            kind = find(one)
        except ValueError as error:
            problems.append(str(error))
        else:
            kinds += [kind] if kind else []
    for problem in problems:
        click.echo(f"netd: {problem}", err=True)
    if not kinds and not problems:
        raise UsageError([f"unknown service type '{name}'{suggestion(str(name), names())}"])
    if not kinds:
        return EXIT_NO
    if as_json:
        print_json({"types": [_describe(kind) for kind in kinds]})
    elif name:
        _print_one(kinds[0])
    else:
        rows = [(kind.name, _rfc(kind), _transports(kind), _plain(kind.summary)) for kind in kinds]
        heads = ("TYPE", "RFC", "TRANSPORTS", "SUMMARY")
        click.echo(table(heads, rows, whole=heads[:3]))
    return EXIT_NO if problems else EXIT_OK


def _plain(text: str) -> str:
    """A docstring for a terminal, without the double backticks of RST."""
    return text.replace("``", "`")


def _rfc(kind: ServiceType) -> str:
    return f"RFC {kind.rfc}" if kind.rfc else "-"


def _transports(kind: ServiceType) -> str:
    return ", ".join(name for name, has in (("stream", kind.streams), ("datagram", kind.datagrams)) if has)


def _describe(kind: ServiceType) -> dict[str, Any]:
    options = kind.options.model_json_schema().get("properties", {})
    written = kind.options.model_construct().written()
    for name, option in options.items():
        if "default" in option:
            option["default"] = written[name]
    return {
        "type": kind.name,
        "summary": kind.summary,
        "rfc": kind.rfc,
        "stream": kind.streams,
        "datagram": kind.datagrams is not None,
        "options": options,
    }


def _print_one(kind: ServiceType) -> None:
    click.echo(
        f"{kind.name} ({_rfc(kind)}; {_transports(kind)})\n" if kind.rfc else f"{kind.name} ({_transports(kind)})\n"
    )
    click.echo(click.wrap_text(_plain(kind.summary)))
    fields = kind.options.model_fields
    click.echo("\nOptions:" if fields else "\nNo options.")
    _print_options(kind.options)


def _print_options(model: type[Model], prefix: str = "") -> None:
    """The options of a model, and those of each model within it."""
    written = model.model_construct().written()
    for name, field in model.model_fields.items():
        inner = isinstance(field.default, Model)
        default = "" if inner else " (required)" if field.is_required() else f" {json.dumps(written[name])}"
        click.echo(f"\n  {prefix}{name}:{default}")
        description = _plain(" ".join((field.description or "").split()))
        click.echo(click.wrap_text(description, initial_indent="    ", subsequent_indent="    "))
        if inner:
            _print_options(type(field.default), f"{prefix}{name}.")
