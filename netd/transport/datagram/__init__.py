"""Datagrams over UDP and UNIX sockets: from a question to its answer.

Read in this order: `server.py` receives datagrams, and sends the answers; `senders.py` caches the verdict of admission
on each sender; `connected.py` finds those that are clients of this host. `mmsg.py` receives and sends many datagrams
with one system call, `single.py` one by one. `origins.py` sets the source address of an answer, `unixgram.py` finds its
destination over UNIX. `posts.py` sends unsolicited datagrams; `options.py` resets options that were set on an inherited
socket.
"""
