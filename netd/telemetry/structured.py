"""structlog without rich.

structlog imports rich if that is installed, for tracebacks in colour, which netd does not use. The import would take a
tenth of the daemon's memory and of its start-up time.
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
