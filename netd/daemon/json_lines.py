"""The output of the control socket: JSON, one object a line. Empty lines keep a connection alive."""

import json
from collections.abc import Callable
from typing import Any

from netd.contract import Post
from netd.transport.loop import Loop

_INTERVAL = 5.0  # seconds between two empty lines


def json_line(value: dict[str, Any]) -> bytes:
    """An object as one line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def keep_alive(loop: Loop, post: Post, is_open: Callable[[], bool]) -> None:
    """Post an empty line every five seconds while ``is_open`` returns true.

    The client notices a netd that hangs, and netd notices a client that has closed the connection.
    """

    def post_empty_line() -> float | None:
        if not is_open():
            return None
        post(b"\n")
        return _INTERVAL

    loop.later(_INTERVAL, post_empty_line)
