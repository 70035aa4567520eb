"""``netd top``: what netd does, kept up to date on a terminal, with keys to sort, look closer and switch services.

Here are the loop and the questions to netd, which are asked in a thread of their own so that no key waits for an
answer. What a key does is in ``view.py``, how it looks in ``screen.py``, which with this file is all that imports rich.
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

from netd.cli.control import Ask, talks
from netd.cli.top.screen import Screen
from netd.cli.top.terminal import Capabilities, Keyboard, has_blocks, require_terminal
from netd.cli.top.view import SERVICE_SORTS, View, Words
from netd.client.control import Answer
from netd.errors import EXIT_OK, OperatorError

_LATE = 2.0  # seconds after which it is said that netd has not answered yet


class _Questions:
    """Asks netd, one question after the other, in a thread of its own."""

    def __init__(self, ask: Ask, wake: Callable[[], None]) -> None:
        self._ask = ask
        self._wake = wake
        self._waiting: queue.SimpleQueue[Words] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Words, Answer | Exception, float]] = queue.SimpleQueue()
        self.open = 0
        """Questions without an answer yet."""
        self.since = 0.0
        """When the last question was put (CLOCK_MONOTONIC)."""
        # Nobody waits for an answer that may never come when the program ends.
        threading.Thread(target=self._run, daemon=True).start()

    def put(self, words: Words) -> None:
        """Ask this after all that was put before."""
        self.open += 1
        self.since = time.monotonic()
        self._waiting.put(words)

    def answers(self) -> list[tuple[Words, Answer | Exception, float]]:
        """What was answered meanwhile: question, answer, and when it came."""
        found = []
        while not self._answers.empty():
            found.append(self._answers.get())
            self.open -= 1
        return found

    def _run(self) -> None:
        while True:
            words = self._waiting.get()
            try:
                answer: Answer | Exception = self._ask(*words)
            except Exception as error:
                answer = error
            self._answers.put((words, answer, time.monotonic()))
            self._wake()


@click.command(epilog="Example: netd top --sort connections")
@click.option(
    "--interval", type=click.FloatRange(0.1, 60), default=1.0, show_default=True, help="Seconds between two looks."
)
@click.option(
    "--sort",
    type=click.Choice([head.lower() for head in SERVICE_SORTS]),
    default="rate",
    show_default=True,
    help="The column to begin with.",
)
@talks
def top(ask: Ask, *, interval: float, sort: str) -> int:
    """Show what a running netd does, on a terminal, until q is pressed; ? tells the keys.

    RATE is what a service answers a second: connections taken and datagrams answered.
    """
    require_terminal()
    view = View(sort.upper())
    view.status_came(ask("status"), time.monotonic())
    try:
        view.rates.prefill(ask("history"), time.time(), interval)
    except OperatorError:
        pass  # it keeps none
    return _Top(ask, view, interval).run()


class _Top:
    """The loop."""

    def __init__(self, ask: Ask, view: View, interval: float) -> None:
        self._view = view
        self._interval = interval
        self._keyboard = Keyboard()
        self._questions = _Questions(ask, self._keyboard.wake)
        self._due = time.monotonic() + interval
        self._heard = time.time()
        self._asked_in_pause = False
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
        """Show and listen until the user has had enough; the exit code."""
        with self._keyboard:
            try:
                self._live.start()
                while not self._view.done:
                    self._draw()
                    for key in self._keyboard.wait(self._next_wait()):
                        if code := self._press(key):
                            return code
                    self._hear()
                    self._ask_if_due()
            finally:
                self._leave()
        return EXIT_OK

    def _leave(self) -> None:
        """Give the screen back."""
        try:
            self._live.stop()
            if not self._capabilities.alternate_screen:
                self._console.clear()  # what is on it would stay there
        except OSError:
            pass  # it is gone

    def _draw(self) -> None:
        view = self._view
        if not view.trouble and self._questions.open and time.monotonic() - self._questions.since > _LATE:
            view.trouble = f"no answer since {self._clock()}, and still waiting"
        try:
            columns, lines = os.get_terminal_size(1)
        except OSError:
            columns, lines = 0, 0
        self._console.size = (columns or 80, lines or 24)
        self._live.update(self._screen.draw(*self._console.size), refresh=True)

    def _clock(self) -> str:
        return time.strftime("%H:%M:%S", time.localtime(self._heard))

    def _press(self, key: str) -> int | None:
        """Do what a key or a signal says; the exit code if it ends this."""
        match key:
            case "SIGTERM" | "SIGHUP" | "SIGQUIT":
                return 128 + signal.Signals[key]
            case "SIGTSTP":
                self._leave()
                self._keyboard.suspend()
                self._live.start()
            case "SIGCONT":
                self._keyboard.take()  # whoever stopped this may have changed the terminal
            case "SIGWINCH":
                pass  # every picture is drawn in full, and as large as the screen is then
            case _:
                showed = self._view.shows_peers
                if command := self._view.press(key):
                    self._questions.put(command)
                    self._due = 0.0
                if self._view.shows_peers != showed:
                    self._due = 0.0
        return None

    # Questions.

    def _next_wait(self) -> float:
        if self._questions.open:
            return _LATE
        return 3600.0 if self._view.paused else self._due - time.monotonic()

    def _ask_if_due(self) -> None:
        if self._questions.open or time.monotonic() < self._due or (self._view.paused and self._due):
            return
        self._due = time.monotonic() + self._interval
        self._asked_in_pause = self._view.paused
        for words in self._view.questions():
            self._questions.put(words)

    def _hear(self) -> None:
        for words, answer, when in self._questions.answers():
            if isinstance(answer, OperatorError):
                self._failed(words, answer)
            elif isinstance(answer, Exception):
                raise answer
            else:
                self._take(words, answer, when)

    def _failed(self, words: Words, error: OperatorError) -> None:
        if words == ("status",):
            self._view.trouble = f"no answer since {self._clock()}: {error.problems[0]}"
        else:
            self._view.message = error.problems[0]

    def _take(self, words: Words, answer: dict[str, Any], when: float) -> None:
        match words:
            case ("status",) | ("peers", *_) if self._view.paused and not self._asked_in_pause:
                pass  # it was on its way when the picture was to stand still
            case ("status",):
                self._heard = time.time()
                self._view.status_came(answer, when)
            case ("peers", *_):
                if words in self._view.questions():
                    self._view.peers = answer
            case (command, name):
                self._view.message = f"{name} is {command}d, until the next reload"
