"""Socket units of systemd, and the services that they start, as services of netd.

`units` splits the text of unit files, and `words` commands; `files` finds units and drop-ins. A `case` is one unit on
its way: `sockets` and `programs` read its sections, `keys` knows what netd has nothing for, and `convert` makes the
services.
"""

from netd.importers.systemd.convert import convert

__all__ = ["convert"]
