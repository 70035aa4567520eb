"""Streams over TCP and UNIX sockets: from accepting a connection to its end.

Read in this order: `server.py` accepts connections; `admission.py` asks `AdmissionControl` about each, and refuses what
it does not admit; `connections.py` picks the way a connection is served, and keeps it until it is closed.
`connection.py` is what all ways share: time-outs, the end, and sending, by a pump (`pump.py`) per direction. The ways
are `echo.py` (splice), `conversation.py` (a generator) and `threaded.py` (a `socketserver` handler in a thread);
`preamble.py` is what may come before any of them. None of these files imports one that imports it.
"""
