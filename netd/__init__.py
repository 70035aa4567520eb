"""netd: one daemon for the small network services of a host.

The packages, and which of them each may import, are in ``docs/architecture.md``.
"""

__version__ = "0.1.0"
