"""Completion in a shell.

`command.py` prints the script of a shell, which asks netd at each tab; `answer.py` answers it, with what
`candidates.py` finds at a running netd.
"""
