"""The launcher: a process that starts programs, as one user, for the workers. It reads no octet of any connection.

Read `launcher.py` first: the loop, and the messages of the supervisor. `workers.py` has what workers ask for,
`programs.py` what runs, `spawn.py` the start of a process, `listeners.py` the programs that get a listening socket,
`error_pipes.py` the standard error of those that no worker reads.
"""
