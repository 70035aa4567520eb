"""The supervisor: opens the sockets, starts the workers, and answers the control socket. It reads no network socket.

Read in this order: `supervisor.py` (start, signals, heartbeats, stop), `workers.py` (the pool of workers), `spawn.py`
(fork), `backoff.py` (when a lost process is started again), `requests.py` (requests to workers and their responses),
`state.py` (the config in force and the counters). Of a lost worker, `stacks.py` finds the place in the code, and
`crashes.py` the service.

A reload: `config_reader.py` (a process that reads the file), `config_diff.py` (what changes), `restart_check.py`
(whether a restart would succeed), `reload.py` (prepare, commit, abort), `listeners.py` (the sockets),
`config_warnings.py`.

Programs: `programs.py` (those of the config), `launchers.py` (the processes that start them), `listener_holders.py`
(those that have a listening socket), `socket_filters.py` (address rules and bans there), `usage.py` (what they take).

For operators: `control_server.py` opens the control socket, `control.py` has the table of its commands, and
`control_links.py` leads there; `commands.py`, `status.py`, `history.py`, `certificates.py`, `trace.py`, `talk.py`
(`netd talk --service`), `bans.py` with `sensors.py`, `explain.py`, `targets.py`. `kernel_drops.py` counts what the
kernel dropped at full queues.
"""
