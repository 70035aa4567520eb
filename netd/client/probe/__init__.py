"""Measures services as a client: sends questions when they are due, checks the answers, computes figures.

`targets` resolves URLs, `questions` makes questions and checks answers. `sessions` and `one_shot` send and receive both
over sockets, `poller` waits for these, `probing` has the schedule. `tally` counts, `figures` computes statistics,
`outcomes` names the failures. `formats`, `checks` and `plot` are the outputs for other programs.
"""
