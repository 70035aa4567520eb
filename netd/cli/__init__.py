"""The command line. A command has the file of its name; ``main.py`` has the table of them.

Commands print and choose the exit code. ``control.py`` finds the running netd and sends requests to it, ``options.py``
and ``output.py`` have what several commands share, ``top/`` and ``probe/`` are `netd top` and `netd probe`.
"""
