"""A worker: an unprivileged process that serves the sockets which the supervisor sends to it.

Read in this order: `worker.py` (the loop and the messages of the supervisor), `config.py` (prepare, commit and abort of
a config), `connections.py` (listing and closing connections), `taps.py` (taps for `netd trace`), `status_client.py`
(requests of a service to the supervisor).
"""
