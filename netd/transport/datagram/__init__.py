"""Datagrams over UDP and UNIX sockets: from the question to its answer.

Read in this order: `server.py` takes datagrams, and sends the answers; `mmsg.py` is how many of them are taken and sent
with one system call. `origins.py` and `unixgram.py` say from where an answer leaves, and to which socket it goes;
`posts.py` sends what nothing has asked for; `options.py` undoes what was set on a socket that was handed over.
"""
