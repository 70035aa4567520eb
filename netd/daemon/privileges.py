"""What the supervisor does about the privileges of its children, beside `netd.privileges`."""

import ctypes
from pathlib import Path

from netd.privileges import RunAs
from netd.transport.advice import PROGRAMS_DROP_IN

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)


def explained(identity: RunAs, error: OSError | RuntimeError) -> str:
    """Why `drop_to` failed, and what to do about it."""
    text = f"cannot become {identity.name}"
    if isinstance(error, OSError) and error.filename:
        text = f"cannot change the root directory to {error.filename}"
    text += f": {error.strerror if isinstance(error, OSError) else error}"
    if isinstance(error, PermissionError):
        needs = ["CAP_SETUID", "CAP_SETGID", *["CAP_SYS_CHROOT"] * bool(identity.chroot)]
        needs += ["CAP_SYS_NICE"] * bool(identity.nice)
        needed = f"{', '.join(needs[:-1])} and {needs[-1]}"
        text += f"; root needs {needed} for that: grant them, or start netd as another user than root"
        text += f"; {PROGRAMS_DROP_IN}"
    return text


def adopt_orphans() -> None:
    """Have the kernel make this process the parent of orphaned descendants (PR_SET_CHILD_SUBREAPER, prctl(2))."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def is_orphan(pid: int, parent: int) -> bool:
    """Whether a process is a child of ``parent``, and leads a process group, as no process of netd does."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[1]) == parent and int(fields[2]) == pid
