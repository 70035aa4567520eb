"""Writes docs/reference/ and man/ from the models, the events, the metrics and the commands of netd (`make docs`).

Read in this order: `options.py` (the options of a model, as values), `commands.py` (the command tree), `events.py` and
`metrics.py`; `markdown.py` (how all of them are written); the pages, a file for each; `roff.py`, which turns the
Markdown of the man pages into man(7); `files.py`, the list of all files. Texts that no source has are in `pages/`.
"""
