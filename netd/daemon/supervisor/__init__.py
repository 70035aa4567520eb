"""The supervisor: opens the sockets, starts the workers, and answers the control socket. It reads no network socket.

Read in this order: `supervisor.py` (start, signals, heartbeats, stop), `workers.py` (the pool of workers: restart with
back-off), `spawn.py` (fork), `requests.py` (requests to workers and their responses), `state.py` (the config in force
and the counters). A reload: `config_reader.py` (a process that reads the file), `config_diff.py` (what changes),
`restart_check.py` (whether a restart would succeed), `reload.py` (prepare, commit, abort), `listeners.py` (the
sockets), `config_warnings.py`. For operators: `control.py` (the control socket), `commands.py`, `status.py`,
`history.py`, `certificates.py`, `trace.py`, `talk.py` (`netd talk --service`), `bans.py`, `explain.py`.
`kernel_drops.py` counts what the kernel dropped at full queues.
"""
