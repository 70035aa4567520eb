"""What blocking handlers in a worker ask the supervisor: the question goes through the loop, the thread waits."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from netd.transport.loop import Loop

FRESH = 0.5
"""Seconds for which an answer is good: however many peers ask, the supervisor is asked twice a second at most."""
_PATIENCE = 5.0  # seconds, from the question on
_SILENT = "the supervisor does not answer"

Answer = dict[str, Any]


class StatusClient:
    """Asks on behalf of threads. ``send`` puts a question to the supervisor, and is called by the loop."""

    def __init__(self, loop: Loop, send: Callable[[str], object]) -> None:
        self._loop = loop
        self._send = send
        self._turns = {"status": threading.Lock(), "history": threading.Lock()}  # one asks, the others wait for it
        self._answers: dict[str, tuple[float, Answer]] = {}
        self._arrived = threading.Condition()

    def ask(self, what: str) -> Answer:
        """What the supervisor says. For threads alone. TimeoutError when it says nothing for some seconds."""
        asked = time.monotonic()
        turn = self._turns[what]
        if not turn.acquire(timeout=_PATIENCE):
            raise TimeoutError(_SILENT)
        try:
            if (answer := self._since(what, asked - FRESH)) is not None:
                return answer
            self._loop.call(partial(self._send, what))
            with self._arrived:
                left = asked + _PATIENCE - time.monotonic()
                if self._arrived.wait_for(lambda: self._since(what, asked) is not None, left):
                    return self._answers[what][1]
        finally:
            turn.release()
        raise TimeoutError(_SILENT)

    def _since(self, what: str, when: float) -> Answer | None:
        came, answer = self._answers.get(what, (float("-inf"), {}))
        return answer if came >= when else None

    def answered(self, what: str, answer: Answer) -> None:
        """The supervisor has said this."""
        with self._arrived:
            self._answers[what] = (time.monotonic(), answer)
            self._arrived.notify_all()
