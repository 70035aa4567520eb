"""sensor: its conversation and its options. What bans is `tests/admission/test_sensor.py` and the daemon."""

import pytest
from pydantic import ValidationError

from netd.services.sensor import SensorOptions
from netd.testing import script
from tests.support.services import service


def test_sensor_sends_nothing_and_closes() -> None:
    script(service("sensor")).ends()


def test_ban_is_a_duration_or_off() -> None:
    assert SensorOptions().ban == 3600
    assert SensorOptions.model_validate({"ban": "5m"}).ban == 300
    assert SensorOptions.model_validate({"ban": "off"}).ban is None
    with pytest.raises(ValidationError, match="expected a duration"):
        SensorOptions.model_validate({"ban": "forever"})
