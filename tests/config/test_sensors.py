"""Problems of sensors in a config."""

from pathlib import Path

import pytest

from netd.config import loader
from netd.errors import ConfigError


@pytest.mark.parametrize(
    ("listen", "problem"),
    [
        ("tcp://127.0.0.1:0", ""),
        ("unix://@sensor", ".listen[0]: a sensor bans addresses, and peers over UNIX have none"),
        ("udp://127.0.0.1:0", ".listen[0]: service type 'sensor' serves streams (tcp, tls, unix) only"),
    ],
)
def test_sensor_serves_connections_of_addresses(tmp_path: Path, listen: str, problem: str) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(f"services:\n  sensor: {{listen: ['{listen}']}}\n")
    if not problem:
        assert loader.load(file).services[0].type == "sensor"
        return
    with pytest.raises(ConfigError) as raised:
        loader.load(file)
    [found] = raised.value.problems
    assert found.partition("services.sensor")[2] == problem
