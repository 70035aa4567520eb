"""``netd services``: the service types and their options."""

import json
from typing import Any

import click

from netd.cli.completion import candidates
from netd.cli.output import print_json, table
from netd.docstrings import meaning
from netd.errors import EXIT_NO, EXIT_OK, UsageError
from netd.services.service_type import ServiceType
from netd.services.table import find, names
from netd.text import printable, suggestion
from netd.values import Model, inner_model


@click.command(epilog="Example: netd services time")
@click.argument("name", metavar="[TYPE|FILE.py:CLASS]", required=False, shell_complete=candidates.service_types)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def services(name: str | None, as_json: bool) -> int:
    """List the service types, or describe one: its purpose, RFC, transports and options.

    FILE.py:CLASS and package.module:CLASS are what the type `python` serves.
    """
    if name and ":" in name:
        return _describe_code(name, as_json)
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


def _describe_code(reference: str, as_json: bool) -> int:
    """Describe a class that the type `python` serves. What its code says is not trusted by a terminal."""
    from netd.config import code  # only here, since it takes long

    try:
        answer = code.describe(reference)
    except OSError as error:
        raise UsageError([f"{reference}: {error.strerror}"]) from None
    except ValueError as error:
        raise UsageError([str(error)]) from None
    streams, datagrams = answer.serving is not None, answer.datagrams is not None
    if as_json:
        found = {"type": "python", "summary": answer.summary, "rfc": None, "stream": streams, "datagram": datagrams}
        print_json({"types": [{**found, "options": answer.options}]})
        return EXIT_OK
    transports = ", ".join(name for name, has in (("stream", streams), ("datagram", datagrams)) if has)
    click.echo(f"{reference} ({transports})")
    if answer.summary:
        click.echo(f"\n{click.wrap_text(printable(_plain(answer.summary)))}")
    click.echo("\nOptions:" if answer.options else "\nNo options.")
    for name, option in answer.options.items():
        default = f" {json.dumps(option['default'])}" if "default" in option else " (required)"
        click.echo(f"\n  {printable(name)}:{default}")
        text = printable(_plain(" ".join(str(option.get("description", "")).split())))
        click.echo(click.wrap_text(text, initial_indent="    ", subsequent_indent="    "))
    return EXIT_OK


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
        inner = inner_model(field)
        has_inner = isinstance(field.default, Model)
        default = "" if has_inner else " (required)" if field.is_required() else f" {json.dumps(written[name])}"
        click.echo(f"\n  {prefix}{name}:{default}")
        description = _plain(" ".join(meaning(model, name).split()))
        click.echo(click.wrap_text(description, initial_indent="    ", subsequent_indent="    "))
        if inner:
            _print_options(inner, f"{prefix}{name}.")
