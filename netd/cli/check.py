"""Commands about the config without a running netd: ``netd check`` and ``netd schema``."""

import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from netd.cli import excerpts
from netd.cli.options import config_option
from netd.cli.output import print_json
from netd.config import loader
from netd.config.model import Config
from netd.config.problems import InvalidConfigError, Mark, Problem, located, parse
from netd.config.schema import json_schema
from netd.errors import EXIT_CONFIG, EXIT_OK, EXIT_OSERR, OpenError


@click.command(epilog="Example: netd check -c /etc/netd/netd.yaml")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
@click.option(
    "--system",
    is_flag=True,
    help="Try too whether this host and user permit it: open each socket and file for a moment, and look up accounts.",
)
def check(file: Path | None, as_json: bool, system: bool) -> int:
    """Check a config: print every problem with its line and column. Without --system, nothing is opened or changed.

    A notice is no problem: a key that was renamed, or a config in which no service is on. With --system, an address in
    use is no problem, since a running netd may have it.
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
    if system and (lines := [located(problem, config.places) for problem in _refusals(config)]):
        problems = [parse(line) or Problem(Mark(str(file)), (), line) for line in lines]
        if not as_json:
            refused = InvalidConfigError(problems, config.notices)
            refused.exit_code = EXIT_OSERR
            raise refused
        answer = {"file": str(file), "ok": False, "refused": _fields(problems), "notices": _fields(config.notices)}
        print_json({**answer, "left_out": 0})
        return EXIT_OSERR
    enabled = [service.name for service in config.enabled]
    disabled = [service.name for service in config.services if not service.enabled]
    notices = list(config.notices)
    if not enabled:
        notices.append(Problem(Mark(str(file)), (), "no service is on", "netd would serve nothing"))
    if as_json:
        answer = {"file": str(file), "ok": True, "enabled": enabled, "disabled": disabled, "notices": _fields(notices)}
        print_json(answer)
    else:
        for line in excerpts.notices(notices):
            click.echo(line, err=True)
        number = f", {excerpts.count(len(notices), 'notice')}" if notices else ""
        off = f"; off: {', '.join(disabled)}" if disabled else ""
        click.echo(f"{file}: valid{number}; on: {', '.join(enabled) or 'nothing'}{off}")
    return EXIT_OK


def _refusals(config: Config) -> Iterator[str]:
    """What the system does not permit this process of a config."""
    from netd.daemon.supervisor import restart_check, socket_filters  # only here: without --system, no check needs them
    from netd.services.forward.options import ForwardOptions
    from netd.transport.listen import open_listeners
    from netd.transport.stream.connecting import bind_error

    yield from restart_check.problems(config)
    yield from socket_filters.refusals(config)
    in_use = os.strerror(errno.EADDRINUSE)
    for service in config.enabled:
        host = service.options.bind if isinstance(service.options, ForwardOptions) else None
        if host and (error := bind_error(host)):
            yield f"services.{service.name}.options.bind: {error}"
        for endpoint in service.listen:
            if endpoint.name:
                continue  # the service manager opens it
            try:
                for listener in open_listeners([(service.name, endpoint)], lambda *skipped: None):
                    listener.close()
            except OpenError as error:
                yield from (problem for problem in error.problems if in_use not in problem)


def _fields(problems: Iterable[Problem]) -> list[dict[str, Any]]:
    return [problem.fields() for problem in problems]


@click.command(epilog="Example: netd schema > netd.schema.json")
def schema() -> int:
    """Print the JSON Schema of the config, for completion and checks in an editor."""
    click.echo(json.dumps(json_schema(), indent=2))
    return EXIT_OK
