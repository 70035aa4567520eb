"""``netd run``: start the daemon, in the foreground or in the background."""

import contextlib
import json
import os
import select
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from netd.cli.options import config_option
from netd.client import control
from netd.config import loader
from netd.config.code import absolute
from netd.config.model import Config
from netd.config.problems import InvalidConfigError, Mark, Problem, located
from netd.daemon.log_output import open_log
from netd.daemon.pid_file import default_pid_file, pid_file
from netd.daemon.start import start
from netd.errors import EXIT_OK, ControlTakenError, OperatorError, UsageError
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.listener import Listener

_OPTION = "--service"  # stands for the file of a config that there is none of
_ASK_TIMEOUT = 2.0  # seconds for the answer of the netd that has the control socket


@click.command(epilog="Example: netd run -c /etc/netd/netd.yaml")
@config_option
@click.option("--daemon", "detach", is_flag=True, help="Go into the background once every service listens.")
@click.option(
    "--service",
    "code",
    metavar="CLASS",
    help="Serve a class or function at the URLs, without a config: FILE.py:CLASS or package.module:CLASS.",
)
@click.argument("urls", metavar="[URL]...", nargs=-1)
def run(file: Path | None, detach: bool, code: str | None, urls: tuple[str, ...]) -> int:
    """Run the services that the config enables, in the foreground or as a daemon.

    SIGTERM or Ctrl-C stops it: it accepts no more connections, and live connections have daemon.drain (30s by
    default) to finish. A second one stops it at once. SIGHUP reloads the config (as `netd reload` does), SIGUSR1
    reopens the log file.
    """
    if code is None and urls:
        raise UsageError(["URLs are for --service CLASS; a config has its own"])
    if code is not None and (file or not urls):
        raise UsageError(["--service CLASS takes URLs to listen on, such as tcp://localhost:7100, and no config"])
    # A daemon reloads from another directory, and commands compare this path from theirs.
    file = (file or loader.default_file()).absolute()

    def load() -> Config:
        return loader.load(file) if code is None else _of_one_service(code, urls)

    config = load()
    if detach:
        # python-daemon closes all descriptors but those in its list, so the daemon has to load the rules again.
        config.access_tables.close()
        if path := os.environ.get("NETD_CONTROL"):
            os.environ["NETD_CONTROL"] = path if path.startswith("@") else os.path.abspath(path)
        pids = config.daemon.pid_file or default_pid_file()

        def serve(ready: Callable[[list[Listener]], None]) -> int:
            return _serve(load(), load, ready, pids, detached=True)

        from netd.daemon.daemonize import detach as run_detached  # here, since a daemon in the foreground does without

        for note in run_detached(config, serve):
            click.echo(f"netd: {note}", err=True)
        return EXIT_OK
    built_in = code is None and file.samefile(loader.BUILT_IN_FILE)
    return _serve(config, load, _introduce if built_in else lambda listeners: None, config.daemon.pid_file)


def _of_one_service(code: str, urls: tuple[str, ...]) -> Config:
    """The config of a service without a config file. Its source is the file of the code."""
    code = absolute(code)
    place, _, name = code.rpartition(":")
    service = {"type": "python", "listen": urls, "options": {"class": code}}

    def as_typed(problem: Problem) -> Problem:
        """What there is to correct is an argument, and has no line."""
        if problem.mark.file != _OPTION:
            return problem  # it is in the code
        match problem.path:
            case (_, _, "listen", int(number)):
                return Problem(Mark(urls[number]), (), problem.message, problem.hint)
        return Problem(Mark(f"{_OPTION} {code}"), (), problem.message, problem.hint)

    try:
        found = loader.load(Path(_OPTION), json.dumps({"services": {name.lower() or "service": service}}))
    except InvalidConfigError as error:
        raise InvalidConfigError(map(as_typed, error.found), map(as_typed, error.notices), error.left_out) from None
    [one] = found.services
    listen = tuple(replace(endpoint, place="") for endpoint in one.listen)
    services = (one.model_copy(update={"listen": listen}),)
    notices = tuple(map(as_typed, found.notices))
    return found.model_copy(update={"source": place, "services": services, "notices": notices})


def _serve(
    config: Config,
    load: Callable[[], Config],
    ready: Callable[[list[Listener]], None],
    pids: str | None,
    *,
    detached: bool = False,
) -> int:
    """Run the supervisor in this process, with its process id in the file ``pids``. The exit code."""
    try:
        output = open_log(config.log, detached=detached)
    except OperatorError as error:
        raise _explained(error, config) from None
    try:
        with pid_file(pids):
            return start(config, load, output.sink, ready)
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
        f"{_occupant(error.path)}; set daemon.control, or $NETD_CONTROL, to another path"
        if isinstance(error, ControlTakenError)
        else ""
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
