"""Threads for request handlers. One is kept for a while, since to start one takes longer than a short connection."""

import threading
from collections.abc import Callable
from contextvars import Context
from queue import Empty, SimpleQueue

from netd.scheduling import wake_without_preempting

KEPT = 10.0
"""Seconds that a thread waits for another handler before it ends."""
_IDLE = "netd-idle"
_MANY = 64
"""Threads of this process above which another one does not preempt those that run: of many, each that wakes would take
the processor only to wait for the interpreter's lock."""

Job = tuple[Callable[[], object], str]


def failure_of(handle: Callable[..., object], *arguments: object) -> BaseException | None:
    """Call a handler. Returns what it has raised, SystemExit too: that ends one conversation alone.

    The caller has to delete the exception: the frames of its traceback hold that of the caller, and with a circle the
    files and sockets of the handler would stay open until Python collects circles.
    """
    try:
        handle(*arguments)
    except BaseException as error:
        return error
    return None


class HandlerThreads:
    """The threads of all handlers of a worker: as many as have run at the same time within the last seconds.

    `run` is for the thread of the loop.
    """

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Job]] = []
        """Of threads that wait, the one last that has waited for the shortest time: it is the next, and others end.
        Those above `_MANY` stand first.
        """

    def run(self, function: Callable[[], object], name: str) -> None:
        """Call ``function``, which raises nothing, in a thread of this name.

        RuntimeError, MemoryError: the system has no thread left.
        """
        try:
            queue = self._idle.pop()
        except IndexError:  # all have something to do
            queue = SimpleQueue()
            threading.Thread(target=self._work, args=(queue,), name=name, daemon=True).start()
        queue.put((function, name))

    def _work(self, queue: SimpleQueue[Job]) -> None:
        """The function of a thread, which keeps no more than the queue: a thread has its arguments until it ends."""
        thread = threading.current_thread()
        if is_above := threading.active_count() > _MANY:
            wake_without_preempting()
        job: Job | None = queue.get()
        while job:
            function, thread.name = job
            Context().run(function)  # in a new thread the context is empty too
            del function, job  # they would keep their connection in memory
            self._idle.insert(0 if is_above else len(self._idle), queue)
            thread.name = _IDLE
            job = self._next(queue)

    def _next(self, queue: SimpleQueue[Job]) -> Job | None:
        try:
            return queue.get(timeout=KEPT)
        except Empty:
            pass
        try:
            self._idle.remove(queue)
        except ValueError:  # the loop has just taken it
            return queue.get()
        return None
