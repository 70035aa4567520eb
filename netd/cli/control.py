"""How commands talk to a running netd: options that select it, and a client of its control socket.

These commands should answer at once, so nothing is imported here that takes long to import.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from netd import default_paths, paths
from netd.client import control
from netd.client.control import Answer, not_netd
from netd.errors import EXIT_NO, ConfigError, NotRunningError, OperatorError

_TIMEOUT = 60.0  # seconds for an answer of netd,
_LINK_TIMEOUT = 5.0  # for the netd behind a link, which is asked again if it does not answer,
_LONG_TIMEOUT = 180.0  # and where netd may have to read its config, and to wait for another such command
_LONG_COMMANDS = ("diff", "disable", "enable", "reload")


class ControlClient:
    """Sends requests to a running netd: that of a config, of a path, of $NETD_CONTROL, or of the usual places."""

    def __init__(self, file: Path | None, path: str | None) -> None:
        self._file = file
        self._path = path
        self._paths: Sequence[str] = ()
        self.answered: str | None = None
        """The control socket at which netd has answered last."""

    def ask(self, *words: str, **named: str | None) -> Answer:
        """The answer to a request. Raises `OperatorError` with netd's exit code where netd refuses it."""
        # The paths are kept for a client that sends many requests (netd top), and found anew after netd has stopped.
        self._paths = self._paths or self.paths()
        try:
            seconds = _LONG_TIMEOUT if words[0] in _LONG_COMMANDS else _TIMEOUT
            answer = control.ask(self._paths, _words(words, named), seconds)
            self.answered = answer.path
            return check_response(answer)
        except NotRunningError:
            self._paths = ()
            raise

    def follow(self, *words: str, **named: str | None) -> Iterator[Answer]:
        """The messages that netd sends after its answer to a request, as they arrive."""
        answers = control.follow(self.paths(), _words(words, named))
        answer = next(answers)
        self.answered = answer.path
        check_response(answer)
        return answers

    def paths(self) -> Sequence[str]:
        """The paths of control sockets to try, in this order."""
        return _find(self._file, self._path)


def _words(words: Sequence[str], named: Mapping[str, str | None]) -> list[str]:
    return [*words, *(f"{key}={value}" for key, value in named.items() if value is not None)]


def check_response(answer: Answer) -> Answer:
    """The answer, if netd has carried out the request. Raises `OperatorError` with netd's exit code otherwise."""
    if answer.get("ok") is True:
        return answer
    problems = answer.get("problems") or [answer.get("error")]
    code = answer.get("exit_code", EXIT_NO)
    told = isinstance(problems, list) and all(isinstance(problem, str) for problem in problems)
    if not told or not isinstance(code, int) or not 0 < code < 128:
        raise not_netd(answer.path, "it neither accepts the request nor says why not")
    if code == ConfigError.exit_code:
        raise ConfigError(problems)
    error = OperatorError(problems)
    error.exit_code = code
    raise error


control_option = click.option(
    "--control",
    "path",
    type=click.Path(readable=False),
    help="The control socket of netd. Default: $NETD_CONTROL, else that of /etc/netd/netd.yaml, else the usual places.",
)


def control_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that select a running netd, and a `ControlClient` for it as argument ``client``.

    An answer that lacks what the command needs, or has it in another form, is an error of the process that sent it.
    """

    @click.option(
        "-c",
        "--config",
        "file",
        type=click.Path(path_type=Path, readable=False),
        help="Ask the netd that was started with this config, whatever the file says now.",
    )
    @control_option
    @wraps(command)
    def with_client(*arguments: Any, file: Path | None, path: str | None, **options: Any) -> int:
        client = ControlClient(file, path)
        with answers_checked(client):
            return command(*arguments, client=client, **options)

    return with_client


@contextlib.contextmanager
def answers_checked(client: ControlClient) -> Iterator[None]:
    """An error that comes from an answer which lacks something becomes one of the process that has sent it."""
    try:
        yield
    except UnicodeError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, OSError) as error:
        out_of_range = not isinstance(error, OSError) or error.errno in (errno.EINVAL, errno.EOVERFLOW)
        if client.answered is None or not out_of_range:
            raise
        raise not_netd(client.answered, f"{type(error).__name__}: {error}") from error


def _find(file: Path | None, path: str | None) -> Sequence[str]:
    """The control sockets to try. Raises `NotRunningError` where the netd there runs another config than ``file``."""
    meant = file
    if file is None and path is None and "NETD_CONTROL" not in os.environ and default_paths.config_exists():
        meant = default_paths.CONFIG_FILE
    if meant is not None and path is None and (linked := _linked(meant)):
        return [linked]
    named = None if meant is None else _named_in(meant)
    if named is None:
        named = path
    found = [named] if named is not None else default_paths.control_sockets()
    if file is not None:
        # A netd with another config may listen there, and must not receive a request for this one.
        try:
            answer = control.ask(found, ["status"])
            if not _runs(answer, file):
                raise NotRunningError([f"no netd runs {file}: the one at {answer.path} runs {answer['config']}"])
        except NotRunningError:
            if _has_problems(file):
                raise NotRunningError([f"no netd runs {file}; it has problems, which netd check prints"]) from None
            raise
    return found


def _linked(file: Path) -> str | None:
    """The control socket of a running netd that was started with this config, by the links that it has made."""
    for directory in default_paths.link_directories():
        for link in default_paths.control_links(file, directory):
            with contextlib.suppress(OSError, NotRunningError):  # a link that is left after a crash
                target = paths.read_link(link)
                if target is not None and _runs(control.ask([target], ["status"], _LINK_TIMEOUT), file):
                    return target
    return None


def _runs(answer: Answer, file: Path) -> bool:
    """Whether this is the status of the netd that runs a config; True for a refusal, which the request gets too."""
    runs = answer.received.get("config")
    if runs is None:
        return True
    if not isinstance(runs, str) or "\0" in runs:
        return False
    try:
        return os.path.samefile(runs, file)
    except OSError:  # the file was removed, or this user may not reach it
        return os.path.realpath(runs) == os.path.realpath(file)


def _has_problems(file: Path) -> bool:
    """Whether there is a config that cannot be used, which is a possible reason why no netd runs it."""
    from netd.config import loader  # only here, since it takes long

    try:
        if file.exists():
            loader.load(file).access_tables.close()
    except ConfigError:
        return True
    return False


def _named_in(file: Path) -> str | None:
    """The control socket that a config names; None where it names none, or cannot be read now.

    A config with problems is no error here: the netd that runs it is to be found, and a reload reports them.
    """
    from netd.config import source

    try:
        tree = source.read(str(file)).tree
    except source.SourceError:
        return None
    daemon = tree.get("daemon")
    path = daemon.get("control") if isinstance(daemon, dict) else None
    if path is False or path == "off":
        raise NotRunningError([f"{file} switches the control socket off (daemon.control)"])
    return path if isinstance(path, str) and path else None
