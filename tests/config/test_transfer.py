"""A config is the same after the transfer to another process."""

import json
import os
from pathlib import Path

import pytest

from netd.admission.access_memory import AccessTables
from netd.config import loader, transfer
from netd.config.model import Config
from netd.steps import finish

ROOT = Path(__file__).parents[2]
# One key has its old name (bans.after), which gives a notice.
ODD = """
daemon: {workers: auto, connections: off, control: off, chroot: /, core: true, heartbeat: 1.5s, drain: 1d, user: nobody}
log: {level: debug, format: logfmt, connections: sample 7, file: /log}
bans: {after: off, exempt: [any, 10.0.0.0/8]}
defaults: {access: {allow: [any], times: ["Mon-Fri 08:00-18:00 Europe/Berlin"]}, limits: {idle: off, rate: off}}
services:
  echo: {listen: ["tcp://*:7?backlog=7&nodelay=off", "udp://[::1%lo]:7", "unix:///x/e?mode=0600"]}
  none: {type: discard, enabled: false, listen: [systemd://x], reply_guard: false, amplify: [local]}
  time: {listen: [tcp://localhost:37], options: {timezone: Asia/Shanghai}, refuse: {line: "421 \\u00e9"}}
  chat: {listen: [udp://127.0.0.1:0], access: {allow: [], deny: [uid:root, 2001:db8::/32]}, limits: {rate: tcp 1/h}}
  some: {type: echo, listen: [tcp://127.0.0.1:0], log_connections: sample 9, banner: "\\xe9"}
  reply: {listen: [tcp://127.0.0.1:0], refuse: reset, limits: {connections: off, bytes: 1GiB, exempt: []}}
"""


def sent(config: Config) -> Config:
    """The config after the transfer."""
    dumped = json.loads(json.dumps(transfer.dump(config)))
    return finish(transfer.restore(dumped, AccessTables(os.dup(config.access_tables.descriptor))))


@pytest.mark.parametrize("text", [ODD, None, "services: {}\n"], ids=["odd", "shipped", "empty"])
def test_config_is_the_same_after_the_transfer(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text((ROOT / "config" / "netd.yaml").read_text() if text is None else text)
    config = loader.load(file)
    other = sent(config)
    for section in ("source", "daemon", "log", "bans", "notices"):
        assert getattr(other, section) == getattr(config, section)
    assert other.services == config.services
    for old, new in zip(config.services, other.services, strict=True):
        assert new.access.read().rules == old.access.read().rules
        for endpoint, other_endpoint in zip(old.listen, new.listen, strict=True):
            assert (str(endpoint), endpoint.place) == (str(other_endpoint), other_endpoint.place)
            assert endpoint.number == other_endpoint.number
