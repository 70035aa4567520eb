"""What `netd status` says of the daemon itself."""

import pytest

from netd.cli.columns import daemon_lines
from tests.cli.top.test_view import answer

SERVING, LEAVING = {"worker": 0, "pid": 2, "seconds": 1}, {"worker": 1, "pid": 3, "leaving": True}


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        ([SERVING], "1 worker"),
        ([SERVING, SERVING], "2 workers"),
        ([SERVING, LEAVING], "1 worker, 1 leaving"),
        ([LEAVING, LEAVING], "0 workers, 2 leaving"),
        ([], "0 workers"),
    ],
)
def test_workers_that_leave_are_told_apart(workers: list[dict[str, object]], words: str) -> None:
    line, _ = daemon_lines(answer(workers=workers))
    assert line == f"netd 0.1.0, pid 1, up 1s, {words}, log level info"


def test_the_config_has_what_is_to_be_known_of_it_beside_it() -> None:
    assert daemon_lines(answer())[1] == "config /etc/netd/netd.yaml, generation 1"
    told = answer(last_reload_successful=False, bans=2)
    assert daemon_lines(told)[1] == "config /etc/netd/netd.yaml, generation 1, last reload rejected, 2 sources banned"
