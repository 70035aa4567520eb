"""xinetd.conf(5): what running xinetd does with its files, as services of netd.

`entries` splits lines, `telling` tells the account each thing once, `files` follows includes, `attributes` is xinetd's
table of them, and `settings` applies defaults and what xinetd ignores. A `case` is one service on its way: `values`,
`addresses`, `access`, `listen`, `program`, `banners`, `sensor` and `tcpmux` read the parts, `service` puts them
together, and `convert` all services; `command_line` tells what options of the running xinetd change.
"""

from netd.importers.xinetd.convert import convert

__all__ = ["convert"]
