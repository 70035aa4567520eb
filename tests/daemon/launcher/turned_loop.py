"""A loop that a test turns in its own thread, until something has happened."""

import threading
from collections.abc import Callable

from netd.transport.loop import Loop


class TurnedLoop(Loop):
    """Handles events while a test waits."""

    def turn_until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Handle events until a condition is true, which is asked again and again."""
        pause, left = threading.Event(), int(seconds * 500)

        def ask() -> None:
            nonlocal left
            if condition() or left <= 0:
                return self.stop()
            left -= 1
            pause.wait(0.002)
            self.call(ask)

        self._running = True
        self.call(ask)
        self.run()
        assert left > 0, "the condition did not become true"

    def turn(self) -> None:
        """Handle what has come until now."""
        turns = iter(range(3))
        self.turn_until(lambda: next(turns, None) is None)
