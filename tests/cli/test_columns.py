"""The lines of `netd status` about the daemon."""

import pytest

from netd.cli.columns import daemon_lines
from tests.cli.top.answers import answer

SERVING, LEAVING = {"worker": 0, "leaving": False}, {"worker": 1, "leaving": True}


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
def test_workers_that_drain_are_counted_apart(workers: list[dict[str, object]], words: str) -> None:
    line, _ = daemon_lines(answer(workers=workers))
    assert line == f"netd 0.1.0, pid 1, up 1s, {words}, log level info"


def test_config_line_shows_generation_rejected_reload_and_bans() -> None:
    assert daemon_lines(answer())[1] == "config /etc/netd/netd.yaml, generation 1"
    rejected = answer(last_reload_successful=False, banned_sources=2)
    assert (
        daemon_lines(rejected)[1] == "config /etc/netd/netd.yaml, generation 1, last reload rejected, 2 sources banned"
    )
