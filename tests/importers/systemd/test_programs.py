"""The section [Service]."""

from pathlib import Path

import pytest

from tests.importers.made_up_host import MadeUpHost
from tests.importers.systemd.units import accepting, listening


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("ExecStart=/a -b 'c d'", {"command": ["/a", "-b", "c d"]}),
        ("ExecStart=@/a b c", {"command": ["/a", "c"], "argv0": "b"}),
        ("ExecStart=:/a $B", {"command": ["/a", "$B"]}),
        ("ExecStart=a", {"command": ["/usr/bin/a"]}),
        ("Environment='A=b c' B=d\nExecStart=/a $A ${B}", {"command": ["/a", "b", "c", "d"]}),
        ("ExecStart=/a %p %% %t", {"command": ["/a", "x", "%", "/run"]}),
        ("ExecStart=/b\nExecStart=\nExecStart=/a", {"command": ["/a"]}),
        ("User=b\nGroup=c\nUMask=0077\nNice=-5", {"user": "b", "group": "c", "umask": "077", "nice": -5}),
        ("SupplementaryGroups=a b\nSupplementaryGroups=c", {"groups": ["a", "b", "c"]}),
        ("WorkingDirectory=-/srv\nRootDirectory=/r", {"directory": "/srv", "root": "/r"}),
        (
            "LimitAS=1G\nLimitNOFILE=8:64\nLimitCPU=1min\nLimitCORE=infinity",
            {"limits": {"memory": "1GiB", "files": 64, "cpu": "1m"}},
        ),
        ("TimeoutStopSec=90\nKillSignal=SIGINT", {"stop": {"after": "90s", "signal": "INT"}}),
        ("PassEnvironment=A B", {"pass_environment": ["A", "B"]}),
        ("StandardError=null", {"stderr": "null"}),
        ("StandardError=inherit", {"stderr": "peer"}),
        ("NoNewPrivileges=yes\nExecStart=/usr/sbin/sshd -i", {"no_new_privileges": None}),
        ("ExecStart=/usr/sbin/sshd -i", {"no_new_privileges": False}),
        ("DynamicUser=no\nPrivateTmp=false\nEnvironmentFile=-/etc/default/x", {"user": "root"}),
    ],
)
def test_the_surroundings_of_a_program_are_options(line: str, options: dict[str, object], tmp_path: Path) -> None:
    service, account = accepting(tmp_path, program=line if "ExecStart" in line else f"ExecStart=/a\n{line}")
    assert {key: service.get("options", key) for key in options} == options
    assert service.enabled, account


def test_a_program_ends_when_its_time_is_over(tmp_path: Path) -> None:
    service, _ = accepting(tmp_path, program="ExecStart=/a\nRuntimeMaxSec=1h")
    assert service.get("limits", "lifetime") == "1h"
    service, account = listening(tmp_path, program="ExecStart=/a\nRuntimeMaxSec=1h")
    assert service.get("limits") is None
    assert "netd ends no program that has the listening socket" in account


def test_a_program_that_has_the_listening_socket_has_mode_listener(tmp_path: Path) -> None:
    service, _ = listening(tmp_path, program="ExecStart=/a\nStandardError=null\nType=notify")
    assert service.get("options") == {"command": ["/a"], "user": "root", "mode": "listener", "stderr": "null"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ExecStart=/a %i", "only systemd knows %i"),
        ("ExecStart=/a $HOME", "only systemd knows $HOME"),
        ("ExecStart=/a 'b", "a quote is not closed"),
        ("ExecStart=/a\nExecStart=/b", "one command for a service"),
        ("ExecStart=/a ; /b", "one command for a service"),
        ("ExecStart=+/a", "the prefix +"),
        ("ExecStart=/opt/gone", "no program '/opt/gone'"),
        ("ExecStart=/a\nUser=stranger", "no user 'stranger'"),
        ("ExecStart=/a\nGroup=stranger", "no group 'stranger'"),
        ("ExecStart=/a\nEnvironment=A", "no assignment of a variable"),
        ("ExecStart=/a\nEnvironmentFile=/etc/default/x", "reads no files of variables"),
        ("ExecStart=/a\nExecStartPre=/b", "one command for a service"),
        ("ExecStart=/a\nDynamicUser=yes", "makes no users"),
        ("ExecStart=/a\nType=forking", "the process that it starts"),
        ("ExecStart=/a\nStandardInput=null", "descriptor 3 (LISTEN_FDS)"),
        ("ExecStart=/a\nStandardOutput=journal", "the output go to the connection"),
        ("ExecStart=/a\nWorkingDirectory=~", "the home of the user"),
        ("ExecStart=/a\nBindPaths=/b", "mounts nothing"),
    ],
)
def test_a_program_that_would_be_another_one_is_off(line: str, expected: str, tmp_path: Path) -> None:
    host = MadeUpHost()
    host.has_path = True
    try:
        service, account = accepting(tmp_path, program=line, host=host)
    except KeyError:
        return  # without a command there is no service at all
    assert not service.enabled
    assert f"{expected}" in account
    assert "so the service is off" in account


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Nice=x", "no priority"),
        ("UMask=9", "no mask"),
        ("LimitNPROC=5", "no such limit of a program"),
        ("KillSignal=SIGWINCH", "no program with this signal"),
        ("TimeoutStopSec=infinity", "not for ever"),
        ("ProtectSystem=strict", "weaker here"),
        ("Restart=always", "manages its programs by itself"),
        ("Unknown=1", "systemd does not know it"),
    ],
)
def test_a_setting_that_netd_lacks_is_told(line: str, expected: str, tmp_path: Path) -> None:
    service, account = accepting(tmp_path, program=f"ExecStart=/a\n{line}")
    assert service.enabled
    assert f"not imported: {line}: " in account
    assert expected in account
