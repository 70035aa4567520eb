"""The processes of netd. Read in this order: `supervisor/`, `worker/`, `launcher/`, then the files beside them.

The privilege boundary runs between these directories. `supervisor/` keeps the privileges that netd was started with,
and reads nothing from the network. `worker/` reads from the network and has no privileges. `launcher/` starts programs
as one user, and reads no octet of a connection. None of them imports another one.

All use `channel.py` (the socket pair to the supervisor), `messages/` (the messages on it) and `garbage.py`. A worker
and a launcher use `request_server.py` (messages of the supervisor, received and answered) and `packets.py` (the socket
pair between them), a launcher and the supervisor `running_table.py`. The supervisor uses `privileges.py` (what its
children cannot become), `tasks.py` (coroutines in a loop), `signals.py`, `systemd.py` (sd_notify(3), sd_listen_fds(3))
and `json_lines.py` (the control socket). `start.py` connects them. `log_output.py` opens the log, and
`resource_limits.py` raises the limits of a process. `daemonize.py` (`netd run --daemon`) and `pid_file.py` are for
hosts without a service manager.
"""
