"""Counters and limits in memory that all processes of netd share, of fixed size, and its layout. No policy.

Read in this order: `memory.py` is memory that several processes map; `table.py` has the counters of a service, with
`sources.py` (its connections by source) and `targets.py` (the state of its targets) behind them; `daemon_limits.py` has
the limits of the whole daemon. `rates.py` are token buckets. Both by source are sketches (`sketch.py`). `running.py`
tells which code of others ran in a worker.
"""
