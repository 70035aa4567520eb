"""structlog as netd has it: without rich.

It imports rich where that is installed, for tracebacks in colour, which nobody asks it for here. That would be a tenth
of the daemon's memory, and of the time until it is ready.
"""

import sys

if "rich" in sys.modules:
    import structlog as structlog
else:
    sys.modules["rich"] = None  # type: ignore[assignment]  # importing it fails (sys.modules in Python's reference)
    try:
        import structlog as structlog
    finally:
        del sys.modules["rich"]
