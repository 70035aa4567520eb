"""A worker: an unprivileged process that serves the sockets which the supervisor hands to it.

Read in this order: `worker.py` (the loop and the messages of the supervisor), `config.py` (prepare, commit and abort of
a config), `connections.py` (listing and ending connections), `trace.py` (taps for `netd trace`), `status_client.py`
(what a service asks the supervisor for).
"""
