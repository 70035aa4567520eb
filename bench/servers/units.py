"""systemd as PID 1 of a lab (tests/systemd/lab), with a socket unit that starts cat(1) for each connection.

``units.py PORT`` needs root. The socket is in the network of this process, where the load is, and the lab runs on the
cores of this process. It ends at SIGTERM, and removes the lab then.
"""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

_LAB = Path(__file__).parents[2] / "tests" / "systemd" / "lab"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_NETWORK = "/run/bench/network"

_SOCKET = """[Socket]
ListenStream=127.0.0.1:{port}
NetworkNamespacePath={network}
Accept=yes
NoDelay=yes
MaxConnections=10000
TriggerLimitIntervalSec=0
"""

_SERVICE = """[Service]
ExecStart=/bin/cat
StandardInput=socket
StandardError=null
User=nobody
Environment=LANG=C.UTF-8
"""


def main(port: int) -> None:
    """Boot, listen, and wait to be asked to stop."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    # So the lab is among the descendants of this process. Their processor time is measured.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    os.environ |= {
        "LAB_NAME": f"bench-{os.getpid()}",
        "LAB_SUITE": "host",
        "LAB_STATE": os.getcwd(),
        "LAB_BIND": f"/proc/{os.getpid()}/ns/net:{_NETWORK}:rw",
    }
    try:
        lab("start")
        units = Path(lab("root")) / "etc/systemd/system"
        (units / "cat.socket").write_text(_SOCKET.format(port=port, network=_NETWORK))
        (units / "cat@.service").write_text(_SERVICE)
        lab("exec", "systemctl", "daemon-reload")
        lab("exec", "systemctl", "start", "cat.socket")
        signal.sigwait([signal.SIGTERM])
    finally:
        lab("stop")


def lab(*words: str) -> str:
    """The output of a command of the lab."""
    return subprocess.run([str(_LAB), *words], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main(int(sys.argv[1]))
