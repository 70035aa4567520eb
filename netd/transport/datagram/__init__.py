"""Datagrams over UDP and UNIX sockets: from a question to its answer.

Read in this order: `server.py` receives datagrams, and sends the answers; `senders.py` caches the verdict of admission
on each sender; `connected.py` finds those that are clients of this host. `mmsg.py` receives and sends many datagrams
with one system call (`structures.py`), `single.py` one by one. `origins.py` sets the source address of an answer,
`unixgram.py` finds its destination over UNIX. `threaded.py` has code that blocks answer. `posts.py` sends unsolicited
datagrams; `options.py` resets options that were set on an inherited socket.

`forward.py` passes datagrams on to a target: each peer has a session (`session.py`) in a bounded table (`sessions.py`),
with a socket of its own (`upstream.py`); `relay_batch.py` sends what has come as it is.
"""
