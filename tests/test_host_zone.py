"""The zone of the host, which changes while netd runs."""

import datetime
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.programs import need, need_root

CHANGE = "mount --bind /usr/share/zoneinfo/{} /etc/localtime"


def served(running: Daemon) -> bool:
    return running.netd("explain", "--from", "192.0.2.7", "--to", "echo").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("jail", [False, True], ids=["", "chroot"])
def test_reload_takes_the_zone_that_the_host_has_now(tmp_path: Path, open_path: Path, jail: bool) -> None:
    need_root()
    need("unshare", "nsenter", "mount")
    hour = datetime.datetime.now(datetime.UTC).hour
    times = f"{(hour - 1) % 24:02}:00-{(hour + 2) % 24:02}:00"
    section = f"daemon: {{chroot: {open_path}}}\n" if jail else ""
    file = tmp_path / "netd.yaml"
    file.write_text(f'{section}services: {{echo: {{listen: [tcp://127.0.0.1:0], access: {{times: ["{times}"]}}}}}}\n')
    own = ("unshare", "--mount", "sh", "-c", f'{CHANGE.format("Etc/UTC")}; exec "$@"', "sh")
    with Daemon("-c", str(file), command=own) as running:
        running.event("netd_started")
        assert served(running)
        inside = ("nsenter", "--mount", "--target", str(running.process.pid))
        subprocess.run([*inside, "sh", "-c", CHANGE.format("Etc/GMT+8")], check=True)
        assert running.ask("reload")["ok"]
        assert not served(running)
        os.kill(running.worker, 9)
        running.event("worker_started")
        assert not served(running)
        assert running.stop() == 0


@pytest.mark.slow
def test_reload_to_a_zone_that_the_chroot_lacks_is_rejected_with_one_line(tmp_path: Path, open_path: Path) -> None:
    need_root()
    file = tmp_path / "netd.yaml"
    text = (
        f"daemon: {{chroot: {open_path}}}\n"
        "services: {daytime: {listen: [tcp://127.0.0.1:0], options: {timezone: ZONE}}}\n"
    )
    file.write_text(text.replace("ZONE", "Asia/Shanghai"))
    with Daemon("-c", str(file)) as running:
        running.event("netd_started")
        file.write_text(text.replace("ZONE", "America/Lima"))
        answer = running.ask("reload")
        assert answer["error"].partition(": ")[2] == (
            "services.daytime: options.timezone: no data for the time zone 'America/Lima': install tzdata "
            "(with daemon.chroot, in it), or use UTC"
        )
        assert running.stop() == 0
