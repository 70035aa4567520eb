"""The time zone of this host. localtime(3) reads /etc/localtime once in a process."""

import os
import time

_FILE = "/etc/localtime"


def read_again() -> None:
    """Use the zone that /etc/localtime has now. Without the file, as in a chroot, or with $TZ, the zone stays."""
    if "TZ" not in os.environ and os.path.exists(_FILE):
        # tzset(3) reads a zone where its name is not the one before.
        os.environ["TZ"] = "UTC0"
        time.tzset()
        del os.environ["TZ"]
        time.tzset()
