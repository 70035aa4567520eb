"""One event loop of `asyncio` in a thread, for all handlers of a process that are coroutines.

A handler is ``async def handle(reader, writer)``, as `asyncio.start_server` takes it. Its connection's socket is read
and written by asyncio; all else stays with netd's loop, as for a handler in a thread. What this needs of asyncio is
public.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary, ref

from netd.transport.handler_watch import Served, watch_of
from netd.transport.loop import Loop

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]
"""Called with a reader and a writer. Returns when the connection is served."""

_GRACE = 1.0  # seconds that cancelled handlers have when the process ends
_LAST_STEPS = 5  # of tasks that are cancelled as the loop closes
_served: contextvars.ContextVar[Served] = contextvars.ContextVar("netd_served")


class Gate:
    """The transport as reader and writer see it: nothing is read while too much waits to be sent.

    Without it, a handler that does not ``await writer.drain()`` would hold all that a client sends which does not read.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._is_full = self._is_paused = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        """The reader has enough for now."""
        self._is_paused = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """The reader has room again. Nothing is read yet where too much waits to be sent."""
        self._is_paused = False
        if not self._is_full:
            self._transport.resume_reading()

    def fill(self) -> None:
        """Too much waits to be sent."""
        self._is_full = True
        self._transport.pause_reading()

    def drain(self) -> None:
        """Enough was sent for reading to go on."""
        self._is_full = False
        if not self._is_paused:
            self._transport.resume_reading()


class _Protocol(asyncio.StreamReaderProtocol):
    """The protocol of asyncio's streams, which has reader and writer use a `Gate`."""

    gate: Gate
    is_lost = False
    """Whether asyncio has closed the socket."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.gate = Gate(transport)
        super().connection_made(self.gate)  # type: ignore[arg-type]

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        super().connection_lost(error)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.gate.fill()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.gate.drain()


class Running:
    """A handler that runs. ``ended`` is called once, in the thread of asyncio, with the exception that left it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[], Coroutine[Any, Any, None]],
        served: Served,
        ended: Callable[[BaseException | None], object],
    ) -> None:
        self._loop = loop
        self._make = make
        self._served = served
        self._ended = ended
        self._task: asyncio.Task[BaseException | None] | None = None
        self.has_ended = False
        self._is_cancelled = False
        loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        context = contextvars.copy_context()
        context.run(_served.set, self._served)
        self._task = self._loop.create_task(self._run(), context=context)
        # Not at the end of `_run`: a task that is cancelled before its first step does not run.
        self._task.add_done_callback(self._on_done)
        if self._is_cancelled:
            self._task.cancel()

    def _on_done(self, task: asyncio.Task[BaseException | None]) -> None:
        self.has_ended = True
        self._task = None  # it holds the exception, and that, by its traceback, this object
        self._ended(None if task.cancelled() else task.result())

    async def _run(self) -> BaseException | None:
        """Returns what the handler has raised."""
        try:
            await self._make()
        except BaseException as error:  # SystemExit too, which would end the loop, and with it all handlers
            if not (self._is_cancelled and isinstance(error, asyncio.CancelledError)):
                return error
        return None

    def cancel(self) -> None:
        """Have it raise `asyncio.CancelledError` where it waits. Safe from any thread."""
        self._is_cancelled = True
        self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task:
            self._task.cancel()


class AsyncioLoop:
    """The loop. ``owner`` is the loop of netd, which alone writes counters."""

    def __init__(self, owner: Loop) -> None:
        self._owner = ref(owner)
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(self._make_task)
        self._loop.set_exception_handler(self._on_exception)
        self._of_tasks: WeakKeyDictionary[Any, Served] = WeakKeyDictionary()
        self.running = 0
        """The number of handlers, which their owner keeps."""
        self._asked: float | None = None  # since when no answer shows that the loop turns
        self._until: float | None = None
        self._changed = threading.Condition()
        self._is_closed = False
        self.thread = threading.Thread(target=self._run, name="netd-asyncio", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._is_closed:
            with contextlib.suppress(SystemExit, KeyboardInterrupt):  # raised by a task of a handler
                self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            for _ in range(_LAST_STEPS):
                self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def close(self) -> None:
        """End the thread, without waiting for a handler that blocks it."""
        self._is_closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.thread.join(_GRACE)

    def start(
        self,
        handle: Handle,
        opened: Any,
        served: Served,
        ended: Callable[[BaseException | None], object],
    ) -> Running:
        """Have a handler serve this socket, the ``close`` of which asyncio calls.

        Where the handler has failed, its attribute ``leaves_open`` is set before: the owner closes it then.
        """
        return Running(self._loop, lambda: self._serve(handle, opened), served, partial(self._on_end, ended))

    async def _serve(self, handle: Handle, opened: Any) -> None:
        reader = asyncio.StreamReader(loop=self._loop)
        protocol = _Protocol(reader, loop=self._loop)
        await self._loop.connect_accepted_socket(lambda: protocol, opened)
        writer = asyncio.StreamWriter(protocol.gate, protocol, reader, self._loop)  # type: ignore[arg-type]
        try:
            await handle(reader, writer)
            writer.close()
            await writer.wait_closed()  # all is sent
        except BaseException:
            opened.leaves_open = True
            raise
        finally:
            if not protocol.is_lost:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def finish(self, handlers: Iterable[Running]) -> None:
        """Wait until these handlers, which were cancelled, have ended: for a second at most, for all calls together."""
        self._until = self._until or monotonic() + _GRACE
        with self._changed:
            self._changed.wait_for(lambda: all(one.has_ended for one in handlers), max(0.0, self._until - monotonic()))

    def _on_end(self, ended: Callable[[BaseException | None], object], failure: BaseException | None) -> None:
        ended(failure)
        with self._changed:
            self._changed.notify_all()

    def _make_task(self, loop: Any, coroutine: Any, **more: Any) -> Any:
        """The task factory: a task belongs to the connection of the task that makes it."""
        task: Any = asyncio.Task(coroutine, loop=loop, **more)
        context = more.get("context")
        if served := context.get(_served) if context else _served.get(None):
            self._of_tasks[task] = served
        return task

    def serves(self, now: float) -> tuple[Served | None, float]:
        """The connection of the task that holds up the loop, and since when; None: the loop turns, as far as known."""
        if self._asked is None:
            self._asked = now
            self._loop.call_soon_threadsafe(self._answer)
            return None, now
        return self._of_tasks.get(asyncio.current_task(self._loop)), self._asked

    def _answer(self) -> None:
        self._asked = None

    def _on_exception(self, loop: Any, context: dict[str, Any]) -> None:
        """An exception that no task of a handler has taken, or that a callback has raised."""
        task, error = context.get("task") or context.get("future"), context.get("exception")
        served = self._of_tasks.get(task) if task else None
        if handle := context.get("handle"):
            served = handle._context.get(_served)  # before Python 3.12 it has no get_context
        if served and isinstance(error, BaseException) and (owner := self._owner()):
            owner.call(lambda: served.events.conversation_failed(served.peer, error))
        else:
            loop.default_exception_handler(context)


_loops: WeakKeyDictionary[Loop, AsyncioLoop] = WeakKeyDictionary()


def asyncio_of(loop: Loop) -> AsyncioLoop:
    """The loop of asyncio beside a loop of netd, which begins with the first handler. OSError: there is no room."""
    if loop not in _loops:
        _loops[loop] = watch_of(loop).beside = made = AsyncioLoop(loop)
        loop.on_close = made.close
    return _loops[loop]
