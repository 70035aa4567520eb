"""What the options of the running xinetd change, as the scripts that start it have them."""

import re

from netd.importers.account import Outcome, Place
from netd.importers.host import Host
from netd.importers.xinetd.telling import Teller

MAIN_FILE = "/etc/xinetd.conf"
"""The file that these options are for."""

_TEXTS = {
    "-inetd_compat": "xinetd reads /etc/inetd.conf too: import that with netd import inetd",
    "-limit": "xinetd starts so many programs at most; limits.connections of a service bounds those of netd",
    "-filelog": "netd has one log for all services: log: {file: PATH}",
    "-syslog": "netd has one log for all services: log: {file: syslog, facility: NAME}",
    "-f": "xinetd reads another file: name that one to netd import xinetd",
}


def tell(host: Host, teller: Teller) -> None:
    """Tell about the options in /etc/default/xinetd (Debian) and /etc/sysconfig/xinetd (Red Hat, SUSE)."""
    for file in ("/etc/default/xinetd", "/etc/sysconfig/xinetd"):
        for number, line in enumerate(host.lines(file), 1):
            if line.lstrip().startswith("#"):
                continue
            for word in re.findall(r"(?<![\w-])-[a-z_]+", line):
                if word in _TEXTS:
                    teller.tell_place(Place(file, number), line.strip(), Outcome.NOTE, _TEXTS[word])
