"""Streams over TCP and UNIX sockets: from accepting a connection to its end. No two of these files import each other.

Read in this order: `server.py` accepts connections; `admission.py` asks `AdmissionControl` about each, and refuses
those that it does not admit; `connections.py` makes the connection object for the service, and keeps it until it is
closed. `connection.py` is the base class: time-outs, closing, and sending, by a pump (`pump.py`) per direction over a
`stream_socket.py`. `splice_pipe.py` moves what comes in bulk.

One class for each way to serve: `echo.py` (what comes is sent back), `conversation.py` (a generator), `threaded.py` (a
`socketserver` handler in a thread, with the socket of `counting_socket.py`), `coroutine.py` (one of asyncio, in the
loop of `asyncio_loop.py`), `program.py` (a program has the socket), `forward.py` (a target, which `connecting.py`
reaches, or over TLS `tls_connecting.py`), and `tcpmux.py` (another service, the server of which is in `passed.py`).
`relay.py` joins the client with a second socket: of a target, of a handler (`threaded_relay.py`), of a program
(`program_relay.py`), at once or when the client has sent something (`waiting_relay.py`).

Before any of them, `preamble.py` handles what precedes the service: the header of a proxy (`proxy_protocol.py`, parsed
by `proxy_header.py`), a TLS handshake (`tls_handshake.py`, which leaves a `tls_socket.py`), a banner.
"""
