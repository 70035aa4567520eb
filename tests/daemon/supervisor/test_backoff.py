"""Losses in a row are followed by longer and longer delays."""

import pytest

from netd.daemon.supervisor.backoff import DELAYS, RESTS, Losses


@pytest.mark.parametrize("delays", [DELAYS, RESTS])
def test_delay_grows_with_each_loss_up_to_the_longest(delays: tuple[float, ...]) -> None:
    losses = Losses(delays)
    assert [losses.lost(now) for now in range(1000, 1000 + len(delays))] == list(delays)
    assert losses.lost(1010) == delays[-1]
    assert losses.until == 1010 + delays[-1]


def test_first_loss_is_one_also_just_after_the_boot_of_the_host() -> None:
    assert Losses().lost(1.0) == 0.0


def test_loss_a_minute_after_the_one_before_is_a_first_one() -> None:
    losses = Losses()
    assert [losses.lost(now) for now in (1000, 1001, 1060.9, 1120.8)] == [0.0, 0.25, 1.0, 4.0]
    assert losses.lost(1180.8) == 0.0


def test_process_that_ran_for_a_minute_begins_anew_however_long_its_delay_was() -> None:
    losses = Losses(RESTS)
    for now in range(1000, 1007):
        losses.lost(now, since=now - 1)
    assert losses.lost(1306, since=1300) == 300.0, "it ran for six seconds, after a rest of five minutes"
    assert losses.lost(1700, since=1640) == 0.0


def test_start_that_fails_is_never_a_first_loss_and_one_in_a_row() -> None:
    losses = Losses()
    assert [losses.not_started(now) for now in (1000, 1001, 1002)] == [0.25, 1.0, 4.0]
    assert losses.lost(1003) == 15.0
    assert losses.until == 1018
