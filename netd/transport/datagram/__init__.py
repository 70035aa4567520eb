"""Datagrams over UDP and UNIX sockets: from the question to its answer.

Read in this order: `server.py` takes datagrams, and sends the answers; `senders.py` remembers what admission says of
each sender. How datagrams are taken and sent is `mmsg.py`, many with one system call, or `single.py`, one by one. From
where an answer leaves is `origins.py`, to which socket it goes over UNIX is `unixgram.py`. `posts.py` sends what
nothing has asked for; `options.py` undoes what was set on a socket that was handed over.
"""
