"""How the control socket tells something: JSON, a line each, and an empty line to show that more may come."""

import json
from collections.abc import Callable
from typing import Any

from netd.contract import Post
from netd.transport.loop import Loop

_ALIVE = 5.0  # seconds between two empty lines


def json_line(told: dict[str, Any]) -> bytes:
    """An answer or another object as one line."""
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def keep_alive(loop: Loop, post: Post, goes_on: Callable[[], bool]) -> None:
    """Post an empty line every few seconds for as long as it ``goes_on``.

    It shows the client that netd is there, and netd that the client is gone.
    """

    def tell() -> float | None:
        if not goes_on():
            return None
        post(b"\n")
        return _ALIVE

    loop.later(_ALIVE, tell)
