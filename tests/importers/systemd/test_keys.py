"""Keys that netd has nothing for."""

import pytest

from netd.importers.systemd.keys import LEFT_OUT, NOTE, OFF, meaning


@pytest.mark.parametrize(
    ("section", "key", "value", "kind"),
    [
        ("Unit", "After", "network.target", NOTE),
        ("Unit", "ConditionVirtualization", "vm", OFF),
        ("Install", "WantedBy", "sockets.target", NOTE),
        ("Socket", "ExecStartPre", "/a", OFF),
        ("Socket", "TriggerLimitBurst", "5", NOTE),
        ("Socket", "Transparent", "yes", LEFT_OUT),
        ("Socket", "Transparent", "no", NOTE),
        ("Socket", "ProtectSystem", "yes", NOTE),
        ("Service", "ProtectSystem", "strict", LEFT_OUT),
        ("Service", "AmbientCapabilities", "CAP_NET_RAW", OFF),
        ("Service", "TemporaryFileSystem", "/a", OFF),
        ("Service", "StateDirectory", "a", NOTE),
        ("Service", "MemoryMax", "1G", LEFT_OUT),
        ("Service", "MemoryDenyWriteExecute", "yes", LEFT_OUT),
        ("Service", "NoSuchKey", "yes", LEFT_OUT),
        ("X-Other", "A", "b", NOTE),
    ],
)
def test_each_key_says_what_leaving_it_out_means(section: str, key: str, value: str, kind: str) -> None:
    found, text = meaning(section, key, value)
    assert found == kind
    assert text
