"""The outcomes of system errors, and their messages."""

import statistics

import pytest

from netd.client.probe.outcomes import LOSSES, MESSAGES, Outcome, outcome_of


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError(111, ""), Outcome.REFUSED),
        (ConnectionResetError(104, ""), Outcome.CLOSED),
        (BrokenPipeError(32, ""), Outcome.CLOSED),
        (TimeoutError(110, ""), Outcome.TIMED_OUT),
        (OSError(113, ""), Outcome.UNREACHABLE),
        (FileNotFoundError(2, ""), Outcome.UNREACHABLE),
        (PermissionError(13, ""), Outcome.UNREACHABLE),
        (OSError(24, "too many open files"), None),
    ],
)
def test_errors_map_to_outcomes(error: OSError, outcome: Outcome | None) -> None:
    assert outcome_of(error) is outcome


def test_losses_have_messages() -> None:
    assert MESSAGES.keys() == set(LOSSES)
    assert statistics.fmean(len(message) for message in MESSAGES.values()) > 10
