"""``netd top``: services and their rates, updated live, with keys to sort, show details and enable or disable.

This file has the loop, and a thread that sends requests to netd, so that no key waits for an answer. ``view.py`` has
the effect of each key, ``screen.py`` the layout. Only this file and ``screen.py`` import rich.
"""

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.live import Live

from netd.cli.control import ControlClient, control_options
from netd.cli.options import parsed, seconds
from netd.cli.reload import switch_result
from netd.cli.top.screen import Screen
from netd.cli.top.terminal import Capabilities, Keyboard, has_blocks, require_terminal
from netd.cli.top.view import SERVICE_SORTS, Request, View
from netd.client.control import Answer
from netd.errors import EXIT_OK, OperatorError

_LATE = 2.0  # seconds without an answer after which the screen shows that


class _RequestThread:
    """Sends requests to netd, one after the other, in a thread."""

    def __init__(self, client: ControlClient, wake: Callable[[], None]) -> None:
        self._client = client
        self._wake = wake
        self._queue: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Request, Answer | Exception, float]] = queue.SimpleQueue()
        self.pending = 0
        """Requests without an answer yet."""
        self.since = 0.0
        """When the last request was queued (CLOCK_MONOTONIC)."""
        # A daemon thread: the program exits without waiting for an answer that may never come.
        threading.Thread(target=self._run, daemon=True).start()

    def put(self, request: Request) -> None:
        """Send this after all requests that are queued."""
        self.pending += 1
        self.since = time.monotonic()
        self._queue.put(request)

    def answers(self) -> list[tuple[Request, Answer | Exception, float]]:
        """The answers since the last call: request, answer or error, and when it arrived (CLOCK_MONOTONIC)."""
        found = []
        while not self._answers.empty():
            found.append(self._answers.get())
            self.pending -= 1
        return found

    def _run(self) -> None:
        while True:
            request = self._queue.get()
            try:
                answer: Answer | Exception = self._client.ask(*request)
            except Exception as error:
                answer = error
            self._answers.put((request, answer, time.monotonic()))
            self._wake()


def _interval(text: str) -> float:
    interval = seconds(text)
    if 0.1 <= interval <= 60:
        return interval
    raise ValueError(f"expected 100ms to 1m, got {text!r}")


@click.command(epilog="Example: netd top --sort open")
@click.option(
    "--interval",
    metavar="DURATION",
    callback=parsed(_interval),
    default="1s",
    show_default=True,
    help="Time between two updates, 100ms to 1m.",
)
@click.option(
    "--sort",
    type=click.Choice([head.lower() for head in SERVICE_SORTS]),
    default="rate",
    show_default=True,
    help="The column to sort by.",
)
@control_options
def top(client: ControlClient, *, interval: float, sort: str) -> int:
    """Show the services of a running netd on a terminal, updated live, until q is pressed; ? lists the keys.

    RATE is requests a second: what arrived at once on a connection, at least one for each connection, and datagrams.
    """
    require_terminal()
    view = View(sort.upper())
    view.on_status(client.ask("status"), time.monotonic())
    try:
        view.rates.prefill(client.ask("history"), time.time(), interval)
    except OperatorError:
        pass  # this netd keeps none
    return _Top(client, view, interval).run()


class _Top:
    """The loop: draw, wait for keys, signals and answers, send the requests that are due."""

    def __init__(self, client: ControlClient, view: View, interval: float) -> None:
        self._view = view
        self._interval = interval
        self._keyboard = Keyboard()
        self._requests = _RequestThread(client, self._keyboard.wake)
        self._due = time.monotonic() + interval
        self._last_answer = time.time()
        self._requested_in_pause = False
        self._screen = Screen(view, blocks=has_blocks())
        self._capabilities = Capabilities()
        self._console = Console(
            highlight=False,
            markup=False,
            emoji=False,
            color_system="standard" if self._capabilities.colours >= 8 else None,
        )
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    def run(self) -> int:
        """Run until the user quits or a signal ends it. The exit code."""
        with self._keyboard:
            try:
                self._live.start()
                while not self._view.done:
                    self._draw()
                    for key in self._keyboard.wait(self._next_wait()):
                        if code := self._press(key):
                            return code
                    self._handle_answers()
                    self._send_if_due()
            finally:
                self._restore_screen()
        return EXIT_OK

    def _restore_screen(self) -> None:
        try:
            self._live.stop()
            if not self._capabilities.alternate_screen:
                self._console.clear()  # the last picture would stay on it
        except OSError:
            pass  # the terminal was closed

    def _draw(self) -> None:
        view = self._view
        if not view.trouble and self._requests.pending and time.monotonic() - self._requests.since > _LATE:
            view.trouble = f"no answer since {self._clock()}, still waiting"
        try:
            columns, lines = os.get_terminal_size(1)
        except OSError:
            columns, lines = 0, 0
        self._console.size = (columns or 80, lines or 24)
        self._live.update(self._screen.draw(*self._console.size), refresh=True)

    def _clock(self) -> str:
        return time.strftime("%H:%M:%S", time.localtime(self._last_answer))

    def _press(self, key: str) -> int | None:
        """Handle a key or a signal. The exit code, if it ends the program."""
        match key:
            case "SIGTERM" | "SIGHUP" | "SIGQUIT":
                return 128 + signal.Signals[key]
            case "SIGTSTP":
                self._restore_screen()
                self._keyboard.suspend()
                self._live.start()
            case "SIGCONT":
                self._keyboard.set_cbreak()  # the shell may have changed the terminal meanwhile
            case "SIGWINCH":
                pass  # every picture is drawn anew, in the size that the screen then has
            case _:
                showed = self._view.shows_peers
                if request := self._view.press(key):
                    self._requests.put(request)
                    self._due = 0.0
                if self._view.shows_peers != showed:
                    self._due = 0.0
        return None

    # Requests.

    def _next_wait(self) -> float:
        if self._requests.pending:
            return _LATE
        return 3600.0 if self._view.paused else self._due - time.monotonic()

    def _send_if_due(self) -> None:
        if self._requests.pending or time.monotonic() < self._due or (self._view.paused and self._due):
            return
        self._due = time.monotonic() + self._interval
        self._requested_in_pause = self._view.paused
        for request in self._view.requests():
            self._requests.put(request)

    def _handle_answers(self) -> None:
        for request, answer, when in self._requests.answers():
            if isinstance(answer, OperatorError):
                self._on_error(request, answer)
            elif isinstance(answer, Exception):
                raise answer
            else:
                self._on_answer(request, answer, when)

    def _on_error(self, request: Request, error: OperatorError) -> None:
        if request == ("status",):
            self._view.trouble = f"no answer since {self._clock()}: {error.problems[0]}"
        else:
            self._view.message = error.problems[0]

    def _on_answer(self, request: Request, answer: dict[str, Any], when: float) -> None:
        match request:
            case ("status",) | ("peers", *_) if self._view.paused and not self._requested_in_pause:
                pass  # requested before the pause; the picture must not change now
            case ("status",):
                self._last_answer = time.time()
                self._view.on_status(answer, when)
            case ("peers", *_):
                if request in self._view.requests():
                    self._view.peers = answer
            case _:
                self._view.message = switch_result(answer)
