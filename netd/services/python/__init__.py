"""python: serves what a Python file or an installed module has, without a package of its own.

`options.py` says where the code is, `handlers.py` what fits, and `loading.py` loads it, in workers alone. `running.py`
knows which code runs now, and `request_handlers.py` how to call a handler. How the supervisor learns what the
code is, without executing it, is in `netd/config/code.py`.
"""

from netd.contract import Context, Conversation
from netd.peer import Peer
from netd.services.python.options import PythonOptions, Reference


class Python:
    """Serves a class or a function of a Python file or module: a service of netd, or a handler of socketserver."""

    Options = PythonOptions

    def __init__(self, options: Reference, context: Context) -> None:
        """It is never built: `netd.services.python.loading` makes the type of the class that the options name."""

    def stream(self, peer: Peer) -> Conversation:
        raise NotImplementedError

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        raise NotImplementedError
