"""What is said of a child that cannot become its user."""

import pytest

from netd.daemon.privileges import explained
from netd.privileges import RunAs


@pytest.mark.parametrize(
    ("run_as", "error", "text"),
    [
        (RunAs("alex"), OSError(22, "Invalid argument"), "cannot become alex: Invalid argument"),
        (RunAs("alex"), RuntimeError("it is root"), "cannot become alex: it is root"),
        (
            RunAs("alex", chroot="jail", nice=-5),
            PermissionError(1, "Operation not permitted", "jail"),
            (
                "cannot change the root directory to jail: Operation not permitted; root needs CAP_SETUID, CAP_SETGID, "
                "CAP_SYS_CHROOT and CAP_SYS_NICE for that: grant them, or start netd as another user than root; "
                "under systemd see the drop-in programs.conf"
            ),
        ),
    ],
)
def test_failed_change_of_the_user_is_explained(run_as: RunAs, error: OSError | RuntimeError, text: str) -> None:
    assert explained(run_as, error) == text
