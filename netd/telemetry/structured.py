"""structlog without rich, greenlet and asyncio.

structlog imports rich if that is installed, for tracebacks in colour, greenlet, for its threads, and asyncio, for
methods that are coroutines. netd uses none of them there. They would take an eighth of the daemon's memory and of its
start-up time.
"""

import sys
from types import ModuleType
from typing import Any

# None: importing it fails, as where it is not installed (sys.modules in Python's reference).
_left_out: dict[str, Any] = {"rich": None, "greenlet": None, "asyncio": ModuleType("asyncio")}
_left_out = {name: module for name, module in _left_out.items() if name not in sys.modules}
sys.modules.update(_left_out)
try:
    import structlog as structlog
finally:
    for name in _left_out:
        del sys.modules[name]
