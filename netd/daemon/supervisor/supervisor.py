"""The supervisor: start, signals, heartbeats, and stop. It opens the sockets, and workers serve them.

It reads no octet from the network. It keeps the rights it was started with, so that a reload can open a privileged
port; the workers have none. One loop handles signals, the control socket, timers, and the workers' channels.
"""

import gc
import os
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from netd import __version__
from netd.config.model import Config
from netd.config.workers import resolve
from netd.daemon import resource_limits, systemd
from netd.daemon.garbage import MANY
from netd.daemon.messages import from_worker
from netd.daemon.messages.from_supervisor import SetLogFile
from netd.daemon.signals import Signals
from netd.daemon.supervisor import config_warnings
from netd.daemon.supervisor.bans import BanManager
from netd.daemon.supervisor.commands import Commands
from netd.daemon.supervisor.config_reader import ConfigReader
from netd.daemon.supervisor.control import Answer, Control, log_exceptions
from netd.daemon.supervisor.control_links import ControlLinks
from netd.daemon.supervisor.control_server import open_control
from netd.daemon.supervisor.crashes import Crashes
from netd.daemon.supervisor.explain import Explainer
from netd.daemon.supervisor.kernel_drops import KernelDrops
from netd.daemon.supervisor.launchers import LauncherPool
from netd.daemon.supervisor.listeners import Listeners
from netd.daemon.supervisor.programs import Programs
from netd.daemon.supervisor.reload import Reloader
from netd.daemon.supervisor.requests import RESPONSE_TIMEOUT
from netd.daemon.supervisor.socket_filters import SocketFilters
from netd.daemon.supervisor.spawn import Entry, WorkerError, WorkerProcess, fork, reap_orphans
from netd.daemon.supervisor.state import State
from netd.daemon.supervisor.status import Status
from netd.daemon.supervisor.talk import Attachments
from netd.daemon.supervisor.trace import Tracer
from netd.daemon.supervisor.workers import WorkerPool
from netd.daemon.tasks import Tasks
from netd.errors import EXIT_OK, EXIT_SOFTWARE, OpenError, OperatorError
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.service_events import ServiceEvents
from netd.telemetry.sink import Sink
from netd.transport.activation import fault_of
from netd.transport.listener import Listener, socket_url
from netd.transport.loop import Loop, Timer
from netd.transport.stream.server import StreamServer

_SETTLE = 0.2  # seconds in which workers have programs started for the connections that wait when netd stops
_LAST_ENDS = 1.0  # seconds in which workers learn of the ends of programs that a stop has ended


def supervise(
    config: Config,
    load: Callable[[], Config],
    sink: Sink,
    ready: Callable[[list[Listener]], None],
    entry: Entry,
    launch: Entry,
) -> int:
    """Serve a checked config until netd is stopped. Returns the exit code.

    ``load`` reads the config again, ``sink`` writes the log, ``ready`` is called once every service listens, and
    ``entry`` is the main function of a worker, and ``launch`` that of a launcher.
    Raises `OperatorError` if netd cannot start; all sockets and files are removed then.
    """
    try:
        supervisor = Supervisor(config, load, sink, entry, launch)
    except OSError as error:
        raise _startup_error(error) from None
    return supervisor.run(ready)


class Supervisor:
    """The process that runs netd: its parts, its signals and its timers."""

    def __init__(self, config: Config, load: Callable[[], Config], sink: Sink, entry: Entry, launch: Entry) -> None:
        run_as = resolve(config.daemon)
        self._state = State(config)
        self._sink = sink
        self._events = DaemonEvents()
        self._loop = Loop(batch=1)  # a client may send many commands at once; time-outs are checked in between
        self._tasks = Tasks(self._loop)
        self._listeners = Listeners(systemd.inherited(), self._state.address_skipped, self._state.options_failed)
        self._crashes = Crashes(lambda: self._state.config.enabled)
        self._pool = WorkerPool(
            self._tasks,
            self._loop,
            self._events,
            partial(fork, run_as=run_as, sink=sink, entry=entry),
            self._sync_worker,
            self._state.settle_counters,
            self._on_notice,
            self._crashes.worker_lost,
        )
        self._filters = SocketFilters(self._state, self._listeners, self._events, self._tasks, self._loop)
        self._bans = BanManager(self._state, self._events, self._loop, self._pool.ask_all, self._filters.bans_changed)
        self._kernel_drops = KernelDrops(self._state, self._listeners, lambda: self._filters.filtered)
        self._status = Status(
            self._state, self._listeners, self._pool, self._crashes, self._kernel_drops, self._events, sink, self._loop
        )
        self._tracer = Tracer(self._state, self._pool, self._loop)
        self._attachments = Attachments(self._state, self._pool, self._loop)
        self._launchers = LauncherPool(
            self._tasks,
            self._loop,
            self._events,
            self._pool.requests,
            lambda number, identity: fork(number, run_as=identity, sink=sink, entry=launch),
            lambda: self._pool.all_workers,
        )
        self._programs = Programs(self._launchers)
        self._reloader = Reloader(
            self._state, self._listeners, self._filters, self._pool, self._programs, self._tasks, run_as.name
        )
        self._config_reader = ConfigReader(self._tasks, self._loop, load)
        self._commands = Commands(
            self._state, self._pool, self._launchers, self._reloader, self._config_reader, self._events, self
        )
        self._crashes.isolate = lambda service: self._background("isolate", self._commands.isolate(service))
        self._control: tuple[StreamServer, Listener] | None = None
        self._links: ControlLinks | None = None
        self._deadline: Timer | None = None  # of the stop under way
        self._heartbeats: tuple[float, float, Timer] | None = None  # interval, time of the last one, timer of the next

    def run(self, ready: Callable[[list[Listener]], None]) -> int:
        """Serve until netd is stopped. Returns the exit code."""
        with Signals(self._loop, self._signal):
            self._events.netd_starting(__version__, self._state.config.source, self._size)
            self._events.config_notices(self._state.config.notices)
            resource_limits.raise_descriptor_limit()
            self._loop.call(lambda: self._signal("SIGCHLD"))  # orphans may have exited before, where this is PID 1
            try:
                started = self._tasks.start(self._start(ready))
                started.then(lambda: self._loop.call(started.get))  # its exception ends the loop
                self._loop.run()
            except BaseException as error:
                if not isinstance(error, OperatorError):
                    self._events.netd_failed(error)
                    systemd.notify("STOPPING=1")
                self._pool.kill()
                self._launchers.kill()
                if isinstance(error, OperatorError):
                    raise
                return EXIT_SOFTWARE
            finally:
                self._close()
        for name, table in self._state.tables.items():
            ServiceEvents(name, table).service_stopped()
        self._events.netd_stopped()
        return EXIT_SOFTWARE if self._pool.failed else EXIT_OK

    async def _start(self, ready: Callable[[list[Listener]], None]) -> None:
        async with self._reloader.queue:  # a reload requested meanwhile runs after the start
            await self._start_first(ready)

    async def _start_first(self, ready: Callable[[list[Listener]], None]) -> None:
        state = self._state
        try:
            self._open_control()
            await self._reloader.start(self._size)
        except OSError as error:
            raise _startup_error(error) from None
        except WorkerError as error:
            raise OpenError([str(error)]) from None
        if state.stopping:
            return
        for one in self._listeners:
            state.log_listening(one.listener)
        for inherited in self._listeners.unclaimed():
            opened = inherited.socket
            self._events.socket_unclaimed(inherited.name, fault_of(opened) or socket_url(opened))
        self._check_config()
        if self._control:
            # Not before: a start that fails, such as that of a second netd, must not change the links of the first.
            self._links = ControlLinks(state.config.source, self._control[1].endpoint.path)
        self._events.netd_started(len(state.config.enabled), sum(1 for _ in self._listeners))
        state.ready = True
        self._status.take_sample()
        systemd.notify("READY=1", f"STATUS={self.status_line()}")
        self._schedule_heartbeats()
        ready([one.listener for one in self._listeners])

    async def _sync_worker(self, worker: WorkerProcess) -> None:
        self._state.add_worker(worker.number)
        await self._launchers.sync_worker(worker)
        await self._reloader.sync_worker(worker)
        await self._tracer.sync_worker(worker)

    def _on_notice(self, worker: WorkerProcess, notice: from_worker.Notice) -> None:
        match notice:
            case from_worker.Offender() | from_worker.Visitors():
                self._bans.record(notice)
            case from_worker.ReportWanted():
                self._status.request_report(worker, notice.report)
            case from_worker.TraceLines():
                self._tracer.on_lines(notice)
            case from_worker.ListenerHeld():
                self._launchers.on_held(worker, notice)
            case from_worker.ProgramsChanged():
                self._launchers.require(worker, notice)
                self._state.count_programs(worker.pid, notice)
            case from_worker.WorkerFault():
                self._launchers.require(worker, notice)
                self._pool.reject(notice.worker, notice.error)

    def _open_control(self) -> None:
        def service(group: int | None) -> Control:
            return Control(
                self._tasks,
                self._commands,
                self.stop,
                self._status,
                self._bans,
                Explainer(self._state, self._listeners, self._filters).explain,
                self._tracer,
                self._attachments,
                group,
                self._programs.trusts_own_user,
                self._events,
            )

        self._control = open_control(self._state.config.daemon, service, self._events, self._loop)

    def _close(self) -> None:
        if self._links:
            self._links.close()
        if self._control:
            server, listener = self._control
            server.close()
            listener.close()
        self._tasks.close()
        self._listeners.close()
        self._loop.close()

    # Commands.

    def config_applied(self) -> None:
        """Update what depends on the config, after a new one is in force."""
        self._crashes.keep(self._state.names)
        self._check_config()
        if len(self._state.config.services) > MANY:
            gc.collect(0)
            gc.freeze()
        if self._deadline is None:
            self._pool.resize(self._size, self._state.isolated)
            self._schedule_heartbeats()

    def _check_config(self) -> None:
        self._kernel_drops.count()  # drops at a new socket before now are not counted
        config_warnings.warn(self._state.config, self._listeners, self._events)

    def stop(self, by: str, *, now: bool = False) -> Answer:
        """Stop netd. Connections have `daemon.drain` to finish, unless ``now``, or netd is stopping already."""
        self._loop.call(lambda: self._stop(by, now=now))
        return {"pid": os.getpid()}

    # Signals and time.

    def _signal(self, name: str) -> None:
        match name:
            case "SIGCHLD":
                self._pool.reap()
                self._launchers.reap()
                self._state.settle_programs({one.pid for one in self._launchers.processes})
                self._config_reader.reap()
                processes = (*self._pool.all_workers, *self._launchers.processes)
                reap_orphans({one.pid for one in processes} | self._config_reader.children)
                self._stop_when_empty()
            case "SIGHUP":
                self._background("reload", self._commands.reload_once(name))
            case "SIGUSR1":
                self._reopen_log()
            case _:
                self._stop(name)

    def _background(self, what: str, task: Coroutine[Any, None, object]) -> None:
        """Start a task that a signal requested. Its exceptions are logged."""
        result = self._tasks.start(task)
        result.then(lambda: log_exceptions(self._events, what, result.get))

    def _reopen_log(self) -> None:
        if self._sink.reopen is None:
            return
        try:
            descriptor = self._sink.reopen()
        except OpenError as error:
            self._events.log_failed(f"{error}; the log goes on as before")
            return
        # Workers may not open the file, so they are sent the descriptor.
        self._commands.ask_all(SetLogFile(), [descriptor])  # it is sent now, so it need not stay open for the responses
        self._sink.replace(descriptor)
        self._events.log_reopened()

    def _stop(self, by: str, *, now: bool = False) -> None:
        daemon = self._state.config.daemon
        if self._deadline is None:
            self._state.stopping = True
            self._events.drain_started(by, self._state.active, 0.0 if now else daemon.drain)
            longest = daemon.drain + self._launchers.longest_stop + 3 * RESPONSE_TIMEOUT
            systemd.notify(
                "STOPPING=1",
                f"STATUS=stopping, {self._state.active} connections left",
                f"EXTEND_TIMEOUT_USEC={int(longest * 1e6)}",
            )
            self._launchers.stop_listening()
            if daemon.on_stop == "kill":
                self._launchers.end_all(_SETTLE)
            self._listeners.close()
            self._pool.drain(leave=daemon.on_stop == "leave")
            self._stop_when_empty(stopping=True)
            self._deadline = self._loop.later(daemon.drain, self._force_stop)
        else:
            now = True
        if now:
            self._loop.wheel.drop(self._deadline)
            self._deadline = self._loop.later(0.0, self._force_stop)

    def _stop_when_empty(self, *, stopping: bool = False) -> None:
        """Stop once no process is left. The launchers go after the workers, which may start a program to the last."""
        if (self._deadline is None and not stopping) or not self._pool.empty:
            return
        if self._launchers and not self._launchers.is_stopping:
            self._launchers.stop(wait=True, leave=self._state.config.daemon.on_stop == "leave")
        if not self._launchers:
            self._loop.stop()

    def _force_stop(self) -> float | None:
        """Close the remaining connections and end the programs, when `daemon.drain` has expired."""
        leave = self._state.config.daemon.on_stop == "leave"
        self._launchers.stop(leave=leave)
        self._loop.later(0.0 if leave or not self._launchers else _LAST_ENDS, self._pool.stop)
        self._loop.later(RESPONSE_TIMEOUT, self._pool.abort)
        self._loop.later(RESPONSE_TIMEOUT + self._launchers.longest_stop, self._launchers.kill)
        return None

    @property
    def _size(self) -> int:
        workers = self._state.config.daemon.workers
        return len(os.sched_getaffinity(0)) if workers == "auto" else workers

    @property
    def _heartbeat_interval(self) -> float:
        """At most a third of the watchdog's interval, so that systemd does not kill netd for one late heartbeat."""
        watchdog = systemd.watchdog_interval()
        heartbeat = self._state.config.daemon.heartbeat
        return heartbeat if watchdog is None else min(heartbeat, watchdog / 3)

    def _schedule_heartbeats(self) -> None:
        """Send heartbeats in the interval of the config in force. Frequent reloads do not delay the next heartbeat."""
        interval, now = self._heartbeat_interval, time.monotonic()
        last = now
        if self._heartbeats is not None:
            before, last, timer = self._heartbeats
            if interval == before:
                return
            self._loop.wheel.drop(timer)
        self._heartbeats = (interval, last, self._loop.later(max(0.0, last + interval - now), self._heartbeat))

    def _heartbeat(self) -> float | None:
        assert self._heartbeats is not None, "started by _schedule_heartbeats"
        if self._deadline is not None:
            return None
        interval, _, timer = self._heartbeats
        self._heartbeats = (interval, time.monotonic(), timer)
        log_exceptions(self._events, "heartbeat", self._tick)
        self._launchers.send_heartbeats()
        if self._pool.send_heartbeats():
            systemd.notify("WATCHDOG=1")
        if (line := self.status_line()) != self._state.status_line:
            self._state.status_line = line
            systemd.notify(f"STATUS={line}")
        return interval

    def _tick(self) -> None:
        """With every heartbeat: count kernel drops, take a sample for the history, log what the throttle held back."""
        self._kernel_drops.count()
        self._status.take_sample()
        self._events.log_pending()
        if self._control:
            self._control[0].events.log_pending()

    def status_line(self) -> str:
        """The status that the service manager shows."""
        return self._status.line()


def _startup_error(error: OSError) -> OpenError:
    return OpenError([f"cannot serve: {resource_limits.described(error)}"])
