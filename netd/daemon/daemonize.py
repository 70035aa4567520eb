"""The classic daemon: in the background, without a terminal (daemon(7), "SysV daemons").

python-daemon detaches the process. Added here: the caller waits until netd is ready, or reports why it is not.
"""

import contextlib
import json
import os
from collections.abc import Callable
from typing import NoReturn

import daemon  # type: ignore[import-untyped]

from netd.config.model import Config
from netd.errors import EXIT_OK, EXIT_SOFTWARE, OpenError, OperatorError
from netd.transport.listen import Listener

Ready = Callable[[list[Listener]], None]

_UMASK = 0o027  # what netd makes is for its user, and for its group to read


def detach(config: Config, serve: Callable[[Ready], int]) -> list[str]:
    """Have ``serve`` run in a daemon, and wait until it is ready. Returns what the caller should know of it.

    What keeps it from being ready is raised here, in the caller's process, as if there were no other one.
    """
    if "NOTIFY_SOCKET" in os.environ or "LISTEN_FDS" in os.environ:
        raise OperatorError(["--daemon is not for a service manager, which sees to that itself: leave it out"])
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _be_daemon(config, serve, writer)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.wait()
    if not text:
        raise OpenError(["the daemon died while it started; see its log"])
    told = json.loads(text)
    if told["code"] != EXIT_OK:
        error = OperatorError(told["problems"])
        error.exit_code = told["code"]
        raise error
    return list(told["notes"])


def _be_daemon(config: Config, serve: Callable[[Ready], int], writer: int) -> NoReturn:
    code = EXIT_SOFTWARE
    told = False

    def tell(code: int, problems: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> None:
        nonlocal told
        if not told:
            told = True
            with contextlib.suppress(OSError):  # a caller that has gone need not know
                os.write(writer, json.dumps({"code": code, "problems": problems, "notes": notes}).encode())
            os.close(writer)

    try:
        notes = () if config.log.file else ("log.file is not set, so nothing is logged",)
        with daemon.DaemonContext(
            detach_process=True,
            umask=_UMASK,
            working_directory="/",
            prevent_core=not config.daemon.core,
            files_preserve=[writer],
            signal_map={},
        ):
            code = serve(lambda listeners: tell(EXIT_OK, notes=notes))
    except OperatorError as error:
        code = error.exit_code
        tell(code, tuple(error.problems))
    except Exception as error:
        tell(EXIT_SOFTWARE, (f"a bug in netd: {error!r}",))
    finally:
        os._exit(code)
