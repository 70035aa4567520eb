"""The command line. ``main.py`` has the table of the commands and their files.

Commands print and choose the exit code. ``control.py`` finds the running netd and sends requests to it, ``options.py``
and ``output.py`` have what several commands share, ``top/`` and ``probe/`` are `netd top` and `netd probe`.
"""
