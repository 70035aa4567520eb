"""netd in the foreground: open the sockets, serve, and stop on a signal."""

import contextlib
import os
import resource
import select
import signal
import time
from collections.abc import Callable

from netd import __version__
from netd.config.model import Config
from netd.daemon.systemd import notify
from netd.daemon.worker import Worker
from netd.errors import EXIT_OK, EXIT_SOFTWARE, OpenError
from netd.telemetry.events import DaemonEvents, ServiceEvents
from netd.transport.sockets import Listener, open_listeners

_PATIENCE = 5.0  # seconds for the loop to end once it is told to; a service that never returns holds it up for ever
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(config: Config, ready: Callable[[list[Listener]], None]) -> int:
    """Serve until SIGTERM or SIGINT; a second one does not wait for conversations. Returns the exit code.

    ``ready`` is called once every service listens. Raises `OpenError` when one cannot, with nothing left open.
    """
    events = DaemonEvents()
    with _Signals() as signals:
        events.netd_started(__version__, config.source)
        _raise_descriptor_limit()
        wanted = [(service.name, endpoint) for service in config.enabled for endpoint in service.listen]
        listeners = open_listeners(wanted, lambda service, *skipped: ServiceEvents(service).address_skipped(*skipped))
        try:
            worker = _serve(config, listeners)
            try:
                events.netd_ready(len(config.enabled), len(listeners))
                notify("READY=1")
                ready(listeners)
                if stopped := signals.wait(worker.ended):
                    events.drain_started(stopped, worker.connections, config.daemon.drain)
                    notify("STOPPING=1")
                    worker.drain()
                    signals.wait(worker.ended, config.daemon.drain)
            finally:
                worker.stop()
                ended = worker.join(_PATIENCE)
        finally:
            for listener in listeners:
                listener.close()
        if not ended:
            events.loop_blocked(_PATIENCE)
            return EXIT_SOFTWARE
        if worker.error:
            events.netd_failed(worker.error)
            return EXIT_SOFTWARE
        events.netd_stopped()
        return EXIT_OK


def _serve(config: Config, listeners: list[Listener]) -> Worker:
    try:
        worker = Worker(config, listeners)
        worker.start()
    except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be had
        reason = error.strerror if isinstance(error, OSError) else error
        raise OpenError([f"cannot serve: {reason}; see the limits of this process (ulimit -a)"]) from None
    return worker


class _Signals:
    """Turns signals into something to wait for. A handler does nothing; the wake-up descriptor tells which came.

    At the end they are ignored: one that comes when the process is about to exit must not change how it does.
    """

    def __enter__(self) -> "_Signals":
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:
            signal.signal(number, lambda number, frame: None)
        return self

    def __exit__(self, *exception: object) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, descriptor: int, seconds: float | None = None) -> str:
        """Wait for a signal, and return its name; or for the descriptor or the time, and return nothing."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        poll.register(descriptor, select.POLLIN)
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if until is None else max(0.0, until - time.monotonic()) * 1000
            ready = [found for found, _ in poll.poll(left)]
            if self._reader in ready:
                return signal.Signals(os.read(self._reader, 1)[0]).name
            if ready or left == 0:
                return ""


def _raise_descriptor_limit() -> None:
    """Every connection takes a descriptor; the soft limit is there for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
