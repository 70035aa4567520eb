"""`netd top`: the services of a running netd, updated live on a terminal.

Read in this order: `command.py` (the command, and its loop), `view.py` (the state, without a terminal), `rates.py` (of
counters), `screen.py` (the layout), `terminal.py`.
"""
