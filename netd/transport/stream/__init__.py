"""Streams over TCP and UNIX sockets: from accepting a connection to its end.

Read in this order: `server.py` accepts connections, asks the door, and picks the way a connection is served.
`connection.py` is what all ways share: sending, time-outs and the end. `echo.py` (splice), `conversation.py` (a
generator) and `threaded.py` (a `socketserver` handler in a thread) are the ways.
"""
