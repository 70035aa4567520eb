"""``netd run``: start the daemon, in the foreground or in the background."""

import contextlib
import os
import select
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import click

from netd.cli.options import config_option
from netd.client import control
from netd.config import loader
from netd.config.model import Config
from netd.config.problems import located
from netd.daemon.daemonize import detach as run_detached
from netd.daemon.log_output import open_log
from netd.daemon.pid_file import default_pid_file, pid_file
from netd.daemon.start import start
from netd.errors import EXIT_OK, ControlTakenError, OperatorError
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.listen import Listener

_ASK_TIMEOUT = 2.0  # seconds for the answer of the netd that has the control socket


@click.command(
    epilog="Example: netd run -c /etc/netd/netd.yaml", short_help="Run the services that the config enables."
)
@config_option
@click.option("--daemon", "detach", is_flag=True, help="Go into the background once every service listens.")
def run(file: Path | None, detach: bool) -> int:
    """Run the services that the config enables, in the foreground or as a daemon.

    SIGTERM or Ctrl-C stops it: it accepts no more connections, and live connections have daemon.drain (30s by
    default) to finish. A second one stops it at once. SIGHUP reloads the config (as `netd reload` does), SIGUSR1
    reopens the log file.
    """
    file = file or loader.default_file()
    config = loader.load(file)
    # A daemon reloads from another directory, and commands compare this path from theirs.
    file = file.absolute()
    config = config.model_copy(update={"source": str(file)})
    if detach:
        # python-daemon closes all descriptors but those in its list, so the daemon has to load the rules again.
        config.access_tables.close()
        if path := os.environ.get("NETD_CONTROL"):
            os.environ["NETD_CONTROL"] = path if path.startswith("@") else os.path.abspath(path)
        pids = config.daemon.pid_file or default_pid_file()

        def serve(ready: Callable[[list[Listener]], None]) -> int:
            return _serve(loader.load(file), file, ready, pids, detached=True)

        for note in run_detached(config, serve):
            click.echo(f"netd: {note}", err=True)
        return EXIT_OK
    built_in = file.samefile(loader.BUILT_IN_FILE)
    return _serve(config, file, _introduce if built_in else lambda listeners: None, config.daemon.pid_file)


def _serve(
    config: Config, file: Path, ready: Callable[[list[Listener]], None], pids: str | None, *, detached: bool = False
) -> int:
    """Run the supervisor in this process, with its process id in the file ``pids``. The exit code."""
    try:
        output = open_log(config.log, detached=detached)
    except OperatorError as error:
        raise _explained(error, config) from None
    try:
        with pid_file(pids):
            return start(config, lambda: loader.load(file), output.sink, ready)
    except OperatorError as error:
        explained = _explained(error, config)
        if output.logs_problems:
            DaemonEvents().start_failed(explained.problems)
        if not output.prints_problems:
            explained.problems = ()
        raise explained from None
    finally:
        output.sink.finish()


def _explained(error: OperatorError, config: Config) -> OperatorError:
    """The error with the netd that has the control socket, and with the places of the keys that it names."""
    advice = (
        f"{_occupant(error.path)}; set daemon.control to another path" if isinstance(error, ControlTakenError) else ""
    )
    return OperatorError((f"{located(problem, config.places)}{advice}" for problem in error.problems), error.exit_code)


def _occupant(path: str) -> str:
    """The netd that answers at a control socket, to append to the error."""
    try:
        answer = control.ask([path], ["status"], _ASK_TIMEOUT)
        return f": netd (pid {int(answer['pid'])}, config {answer['config']})"
    except (OperatorError, LookupError, TypeError, ValueError):  # it may be another program, or refuse the request
        return "; is netd running already?"


def _command() -> str:
    """How a user may type the name of this program in another terminal."""
    if shutil.which("netd"):
        return "netd"
    return f"{sys.executable} -m netd" if sys.argv[0].endswith("__main__.py") else sys.argv[0]


def _introduce(listeners: list[Listener]) -> None:
    """Print the services of the built-in config, and commands that try them, if standard output takes them now."""
    with contextlib.suppress(OSError):
        if select.select([], [1], [], 0)[1]:  # a full pipe must not block the daemon
            click.echo(_introduction(listeners))


def _introduction(listeners: list[Listener]) -> str:
    endpoints: dict[str, list[str]] = {}
    for listener in listeners:
        endpoints.setdefault(listener.service, []).append(listener.url)
    netd = _command()
    served = "\n".join(f"  {service:<9} {'  '.join(urls)}" for service, urls in endpoints.items())
    return f"""\
netd listens on loopback only (the built-in config; use -c FILE for your own):

{served}

Try, in another terminal:

  echo hello | nc -N localhost 7007       hello (-N is of OpenBSD's nc; leave it out with another)
  echo hello | nc -u -w1 localhost 7007   the same over UDP
  telnet localhost 7037                   the time; then an empty line, %H:%M, or 0; Ctrl-] and quit
  echo 'ping 42' | nc -N localhost 8888   pong 42
  telnet localhost 7083                   a chat room; type alex : hello, and q to leave

or, with the client of netd:

  {netd} talk tcp://localhost:7007
  {netd} status

Its status page is at http://localhost:7090/

Ctrl-C stops it.
"""
