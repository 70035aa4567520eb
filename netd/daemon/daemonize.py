"""A SysV daemon: a process in the background, without a terminal (daemon(7), "SysV Daemons").

python-daemon detaches the process. The caller waits until netd is ready, or fails with the error of the daemon.
"""

import contextlib
import json
import os
from collections.abc import Callable
from typing import NoReturn

import daemon  # type: ignore[import-untyped]

from netd.config.model import SYSLOG, Config, LogSection
from netd.daemon.log_output import missing_syslog
from netd.errors import EXIT_OK, EXIT_SOFTWARE, OpenError, OperatorError
from netd.transport.listener import Listener

Ready = Callable[[list[Listener]], None]

_UMASK = 0o027  # files that netd creates are writable by its user, and readable by its group


def detach(config: Config, serve: Callable[[Ready], int]) -> list[str]:
    """Run ``serve`` in a daemon, and wait until it is ready. Returns notes for the operator.

    Raises in this process the `OperatorError` that the daemon fails with before it is ready.
    """
    if "NOTIFY_SOCKET" in os.environ or "LISTEN_FDS" in os.environ:
        raise OperatorError(
            ["--daemon cannot be used under a service manager (NOTIFY_SOCKET or LISTEN_FDS is set); leave it out"]
        )
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _run_daemon(config, serve, writer)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.wait()
    if not text:
        raise OpenError(["the daemon exited before it was ready; see its log"])
    report = json.loads(text)
    if report["code"] != EXIT_OK:
        error = OperatorError(report["problems"])
        error.exit_code = report["code"]
        raise error
    return list(report["notes"])


def _notes(log: LogSection) -> tuple[str, ...]:
    """What the operator should know about the log: that it goes to the syslogd of a host without one."""
    if log.format == "journal" or log.file not in (None, SYSLOG) or not (missing := missing_syslog()):
        return ()
    unset = "" if log.file else "log.file is not set, and "
    return (f"{unset}{missing}; nothing is logged until one runs",)


def _run_daemon(config: Config, serve: Callable[[Ready], int], writer: int) -> NoReturn:
    code = EXIT_SOFTWARE
    reported = False

    def report(code: int, problems: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> None:
        nonlocal reported
        if not reported:
            reported = True
            with contextlib.suppress(OSError):  # EPIPE: the caller has exited
                os.write(writer, json.dumps({"code": code, "problems": problems, "notes": notes}).encode())
            os.close(writer)

    try:
        notes = _notes(config.log)
        with daemon.DaemonContext(
            detach_process=True,
            umask=_UMASK,
            working_directory="/",
            prevent_core=not config.daemon.core,
            files_preserve=[writer],
            signal_map={},
        ):
            code = serve(lambda listeners: report(EXIT_OK, notes=notes))
    except OperatorError as error:
        code = error.exit_code
        report(code, tuple(error.problems))
    except Exception as error:
        report(EXIT_SOFTWARE, (f"a bug in netd: {error!r}",))
    finally:
        os._exit(code)
