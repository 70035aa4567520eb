"""Commands about the config without a running netd: ``netd check`` and ``netd schema``."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from netd.cli.excerpts import notes
from netd.cli.options import config_option
from netd.cli.output import print_json
from netd.config import loader
from netd.config.problems import InvalidConfigError, Mark, Problem
from netd.config.schema import json_schema
from netd.errors import EXIT_CONFIG, EXIT_OK


@click.command(epilog="Example: netd check -c /etc/netd/netd.yaml")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
def check(file: Path | None, as_json: bool) -> int:
    """Check a config: print every problem with its line and column. Nothing is opened or changed.

    A key that has been renamed is accepted, with a notice; so is a config in which no service is on.

    Exit code 0: netd can use the config; 78: it cannot.
    """
    file = file or loader.default_file()
    try:
        config = loader.load(file)
    except InvalidConfigError as error:
        if not as_json:
            raise
        answer = {"file": str(file), "ok": False, "problems": _fields(error.found), "notices": _fields(error.notices)}
        print_json({**answer, "left_out": error.left_out})
        return EXIT_CONFIG
    enabled = [service.name for service in config.enabled]
    disabled = [service.name for service in config.services if not service.enabled]
    notices = list(config.notices)
    if not enabled:
        notices.append(Problem(Mark(str(file)), (), "no service is on", "netd would serve nothing"))
    if as_json:
        answer = {"file": str(file), "ok": True, "enabled": enabled, "disabled": disabled, "notices": _fields(notices)}
        print_json(answer)
    else:
        for line in notes(notices):
            click.echo(line, err=True)
        off = f"; off: {', '.join(disabled)}" if disabled else ""
        click.echo(f"{file}: good; on: {', '.join(enabled) or 'nothing'}{off}")
    return EXIT_OK


def _fields(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    return [problem.fields() for problem in problems]


@click.command(epilog="Example: netd schema > netd.schema.json")
def schema() -> int:
    """Print the JSON Schema of the config, for completion and checks in an editor."""
    click.echo(json.dumps(json_schema(), indent=2))
    return EXIT_OK
