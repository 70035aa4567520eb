"""Requests of blocking handlers to the supervisor: the loop sends the request, and the thread of the handler waits."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from netd.transport.loop import Loop

MAX_AGE = 0.5
"""Seconds for which a response is reused: a worker sends two requests a second at most, however many peers ask."""
_TIMEOUT = 5.0  # seconds, from the call on
_AGAIN = 0.1  # seconds to the next attempt while the channel is full
_NO_RESPONSE = "the supervisor does not answer"

Body = dict[str, Any]
"""The content of a response."""


class StatusClient:
    """Sends requests for threads.

    The loop calls ``send`` with the name of the report that is requested; false if it could not be sent now.
    """

    def __init__(self, loop: Loop, send: Callable[[str], bool]) -> None:
        self._loop = loop
        self._send = send
        # The thread that holds the lock sends the request. The others reuse its response.
        self._request_locks = {"status": threading.Lock(), "history": threading.Lock()}
        self._responses: dict[str, tuple[float, Body]] = {}
        self._response_received = threading.Condition()

    def request(self, report: str) -> Body:
        """A report of the supervisor. Only for threads other than the loop's. TimeoutError after `_TIMEOUT` seconds."""
        called = time.monotonic()
        lock = self._request_locks[report]
        if not lock.acquire(timeout=_TIMEOUT):
            raise TimeoutError(_NO_RESPONSE)
        try:
            if (body := self._received_since(report, called - MAX_AGE)) is not None:
                return body
            self._loop.call(partial(self._try, report, called + _TIMEOUT))
            with self._response_received:
                left = called + _TIMEOUT - time.monotonic()
                if self._response_received.wait_for(lambda: self._received_since(report, called) is not None, left):
                    return self._responses[report][1]
        finally:
            lock.release()
        raise TimeoutError(_NO_RESPONSE)

    def _try(self, report: str, until: float) -> None:
        if not self._send(report) and time.monotonic() < until:
            self._loop.later(_AGAIN, partial(self._try, report, until))

    def _received_since(self, report: str, when: float) -> Body | None:
        received, body = self._responses.get(report, (float("-inf"), {}))
        return body if received >= when else None

    def on_response(self, report: str, body: Body) -> None:
        """Wake the threads that wait for this report."""
        with self._response_received:
            self._responses[report] = (time.monotonic(), body)
            self._response_received.notify_all()
