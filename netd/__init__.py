"""netd: one daemon for the small network services of a host.

The rooms and what each may import are on one page in ``docs/architecture.md``.
"""

__version__ = "0.1.0"
