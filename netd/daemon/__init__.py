"""The processes of netd. Read in this order: `supervisor/`, `worker/`, then the files between them.

The directories are cut at the privilege boundary. `supervisor/` keeps the rights that netd was started with and reads
nothing from the network; `worker/` reads from the network and has no rights; neither imports the other. Beside them is
what both use: `channel.py` (the socket pair between them), `privileges.py` (becoming an unprivileged user), `tasks.py`
(coroutines in the supervisor's loop), `signals.py`, `systemd.py` (sd_notify(3) and its kin), `json_lines.py`, and
`daemonize.py` (`netd run --daemon`) with `pid_file.py`.
"""
