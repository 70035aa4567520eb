"""``netd run`` and ``netd check``."""

import contextlib
import json
import os
import select
from collections.abc import Callable
from pathlib import Path

import click

from netd.config import loader
from netd.config.model import Config
from netd.daemon.daemonize import detach as run_detached
from netd.daemon.pid_file import default_pid_file, pid_file
from netd.daemon.start import start
from netd.errors import EXIT_CONFIG, EXIT_OK, ConfigError, OpenError
from netd.telemetry import logs
from netd.telemetry.journal import SOCKET
from netd.transport.listen import Listener

config_option = click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path, readable=False),
    help="The config file. Default: /etc/netd/netd.yaml if there, else a built-in config on loopback.",
)


@click.command(epilog="Example: netd run -c /etc/netd/netd.yaml")
@config_option
@click.option("--daemon", "detach", is_flag=True, help="Go on in the background, once every service listens.")
def run(file: Path | None, detach: bool) -> int:
    """Serve what the config switches on, in the foreground or as a daemon.

    SIGTERM or Ctrl-C stops it: nothing more is accepted, conversations have the config's drain time to finish. A second
    one stops it at once. SIGHUP reads the config again (as `netd reload` does), SIGUSR1 opens the log file anew.
    """
    file = file or loader.default_file()
    config = loader.load(file)
    # A daemon is in another directory when it is told to reload, and so is who asks which config it runs.
    file = file.absolute()
    config = config.model_copy(update={"source": str(file)})
    if detach:
        # python-daemon closes all descriptors that it was not told of, so the daemon has to read the rules itself.
        config.access_tables.close()
        if path := os.environ.get("NETD_CONTROL"):
            os.environ["NETD_CONTROL"] = path if path.startswith("@") else os.path.abspath(path)
        pids = config.daemon.pid_file or default_pid_file()
        for note in run_detached(config, lambda ready: _serve(loader.load(file), file, ready, pids)):
            click.echo(f"netd: {note}", err=True)
        return EXIT_OK
    built_in = file.samefile(loader.BUILT_IN_FILE)
    return _serve(config, file, _introduce if built_in else lambda listeners: None, config.daemon.pid_file)


def _serve(config: Config, file: Path, ready: Callable[[list[Listener]], None], pids: str | None) -> int:
    """Serve from this process, with its id in the file ``pids``; the exit code."""
    descriptor = 2
    if config.log.file is not None:
        try:
            descriptor = logs.open_file(config.log.file)
        except OSError as error:
            raise OpenError([f"log.file: cannot open {config.log.file}: {error.strerror}"]) from None
    try:
        sink = logs.set_up(config.log.level, config.log.format, descriptor)
    except OSError as error:
        raise OpenError([f"log.format: there is no journal at {SOCKET}: {error.strerror}"]) from None
    try:
        with pid_file(pids):
            return start(config, lambda: loader.load(file), sink, ready)
    finally:
        sink.finish()


@click.command(epilog="Example: netd check -c /etc/netd/netd.yaml")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON object.")
def check(file: Path | None, as_json: bool) -> int:
    """Find every problem in a config, each with its place. Nothing is opened or changed.

    Exit code 0: netd can use it; 78: it cannot.
    """
    file = file or loader.default_file()
    try:
        config = loader.load(file)
    except ConfigError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"file": str(file), "ok": False, "problems": error.problems}, indent=2))
        return EXIT_CONFIG
    enabled = [service.name for service in config.enabled]
    disabled = [service.name for service in config.services if not service.enabled]
    if as_json:
        click.echo(json.dumps({"file": str(file), "ok": True, "enabled": enabled, "disabled": disabled}, indent=2))
    else:
        off = f"; off: {', '.join(disabled)}" if disabled else ""
        click.echo(f"{file}: good; on: {', '.join(enabled) or 'nothing'}{off}")
    return EXIT_OK


def _introduce(listeners: list[Listener]) -> None:
    """Tell somebody who has just started netd without a config what there is and how to try it, if they listen."""
    with contextlib.suppress(OSError):
        if select.select([], [1], [], 0)[1]:  # a pipe nobody reads must not hold up the daemon
            click.echo(_introduction(listeners))


def _introduction(listeners: list[Listener]) -> str:
    places: dict[str, list[str]] = {}
    for listener in listeners:
        places.setdefault(listener.service, []).append(listener.url)
    served = "\n".join(f"  {service:<9} {'  '.join(urls)}" for service, urls in places.items())
    return f"""\
netd serves on this machine only (the built-in config; your own comes with -c FILE):

{served}

Try, in another terminal:

  echo hello | nc -N localhost 7007       the same back
  echo hello | nc -u -w1 localhost 7007   the same over UDP
  telnet localhost 7037                   the time; then an empty line, %H:%M, or 0; Ctrl-] and quit
  echo 'ping 42' | nc -N localhost 8888   pong 42
  telnet localhost 7083                   a room for all who do this: alex : hello, and q to leave

What it does is shown at http://localhost:7090/

Ctrl-C stops it.
"""
