"""A worker: an unprivileged process that serves the sockets which the supervisor sends to it.

Read in this order: `worker.py` (the loop and the messages of the supervisor), `config.py` (prepare, commit and abort of
a config), `prepared_config.py` (what is between them), `instance.py` (the objects that serve one service), `kinds.py`
(the types of services, with those of code that it has got), `multiplexing.py` (which services tcpmux names),
`faults.py` (why a config cannot be prepared). While it serves: `connections.py` (listing and closing connections),
`launchers.py` (programs, which launchers start), `program_run.py` (a program that is run for its output), `taps.py`
(`netd trace`), `visitors.py` (those of sensors), `status_client.py` (requests of a service to the supervisor),
`code_output.py` (what code of others prints), `heap.py` (memory that is given back).
"""
