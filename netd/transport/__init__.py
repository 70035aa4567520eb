"""The data plane: sockets, one loop, connections and datagrams.

Read in this order: `loop.py` is the event loop, with the timers of `wheel.py`; `listener.py` is an open socket of a
service; `listen.py` opens those of an endpoint, or takes them from `activation.py` (sockets that were inherited), and
`advice.py` has the remedies of its errors; `arrivals.py` stops what comes in before one is closed, and
`socket_filter.py` has the kernel refuse addresses there. Then `stream/` (TCP, TLS and UNIX) and `datagram/` (UDP and
UNIX), which share: `sockaddr.py` (the peer, from what the kernel says), `send_queue.py` (what a service posts),
`handler_threads.py` and `handler_watch.py` (handlers that block, and those that hang), `resolver.py` (names),
`own_listeners.py` (a target that is netd itself), and `tap.py` (`netd trace`). `target_check.py` checks the targets of
`forward`.
"""
