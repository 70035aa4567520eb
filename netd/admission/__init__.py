"""Admission: which peers are served, and how much. Pure policy on addresses, numbers and a clock.

Read in this order: `control.py` makes all checks in their order, for connections and datagrams, and explains them;
`daemon.py` is what all services share; `policy.py` has the keys of a service about it, with `limits.py`. Rules of
access: `access.py`, compiled to `access_table.py` in the memory of `access_memory.py`; `addresses.py` finds the network
of an address; `certificates.py` has those about client certificates; `address_filter.py` compiles both rules and bans
for the kernel. `bans.py` says which source is banned for how long, and `sensor.py` bans what connects. `reply_guard.py`
holds against amplification and loops of datagrams. `threads.py` bounds the threads of handlers, `proxies.py` says which
hosts name the peers of their connections, `banner.py` what a peer gets first, `tcpmux.py` how a service is named there.
"""
