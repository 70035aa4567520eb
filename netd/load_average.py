"""The load average of this host, of one minute (getloadavg(3))."""

import ctypes
import sys

_EVERY = 1.0  # seconds between two readings; the kernel computes it every 5 seconds
_WORD = ctypes.sizeof(ctypes.c_long)
_SCALE = 1 << 16  # SI_LOAD_SHIFT of linux/sysinfo.h

# sysinfo(2) and not getloadavg(3), which reads /proc/loadavg: with ProcSubset=pid (systemd.exec(5)) there is none.
_sysinfo = ctypes.CDLL(None, use_errno=True).sysinfo


class LoadAverage:
    """The load average, as it was up to a second ago."""

    def __init__(self) -> None:
        self._until = float("-inf")
        self._value = 0.0

    def __call__(self, now: float) -> float:
        """The load average at ``now`` (seconds, monotonic)."""
        if now >= self._until:
            self._until = now + _EVERY
            self._value = _read()
        return self._value


def _read() -> float:
    # struct sysinfo begins with a long, the seconds since the boot; three averages follow. It has 112 octets at most.
    memory = bytearray(256)
    _sysinfo((ctypes.c_char * len(memory)).from_buffer(memory))
    return int.from_bytes(memory[_WORD : 2 * _WORD], sys.byteorder) / _SCALE
