"""Measuring a service from the outside: questions sent when they are due, answers checked, figures told.

`targets` says whom to ask, `questions` what to ask and what the answer has to be. `sessions` and `errands` carry both
over sockets, `poller` waits for these, `probing` decides when. `tally` counts, `figures` reckons, `outcomes` names what
can go wrong. `formats`, `checks` and `plot` tell others.
"""
