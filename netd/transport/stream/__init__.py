"""Streams over TCP and UNIX sockets: from accepting a connection to its end.

Read in this order: `server.py` accepts connections; `admission.py` asks `AdmissionControl` about each, and refuses
those that it does not admit; `connections.py` makes the connection object for the service, and keeps it until it is
closed. `connection.py` is the base class: time-outs, closing, and sending, by a pump (`pump.py`) per direction. Its
subclasses are in `echo.py` (what comes is sent back), `conversation.py` (a generator), `threaded.py` (a `socketserver`
handler in a thread, with the socket of `counting_socket.py`), `coroutine.py` (one of asyncio), `program.py` (a program
has the socket) and `relay.py` (a second socket); `splice_pipe.py` moves what comes in bulk. `preamble.py` handles a
header or handshake before any of them. No two of these files import each other.
"""
