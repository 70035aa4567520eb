"""`netd talk`: a conversation between a user interface, a schedule and a link, which do not depend on each other.

``conversation.py`` runs it. The links are in ``link.py`` (sockets), ``tls_link.py`` and ``control_link.py`` (a service
of a running netd), the user interfaces in ``user_io.py`` (a pipe) and ``terminal.py``, with its ``history.py``.
``template.py`` and ``screen.py`` are values only: the text of ``--send`` and ``--name``, and the text that is safe for
a terminal.
"""
