"""The section [Socket]."""

from pathlib import Path

import pytest

from tests.importers.systemd.units import accepting, imported, listening


@pytest.mark.parametrize(
    ("lines", "urls"),
    [
        ("ListenStream=6657", ["tcp://*:6657"]),
        ("ListenStream=[::]:80", ["tcp://*:80"]),
        ("ListenStream=80\nBindIPv6Only=ipv6-only", ["tcp://[::]:80"]),
        ("ListenStream=80\nBindIPv6Only=yes", ["tcp://[::]:80"]),
        ("ListenStream=80\nBindIPv6Only=both", ["tcp://*:80"]),
        ("ListenStream=0.0.0.0:80", ["tcp://0.0.0.0:80"]),
        ("ListenStream=[2001:db8::1]:80", ["tcp://[2001:db8::1]:80"]),
        ("ListenDatagram=5353", ["udp://*:5353"]),
        ("ListenStream=@name", ["unix://@name"]),
        ("ListenDatagram=%t/%p", ["unixgram:///run/x"]),
        ("ListenStream=/a\nSocketMode=0600\nSocketUser=b", ["unix:///a?mode=0600&owner=b"]),
        ("ListenStream=@a\nSocketMode=0600", ["unix://@a"]),
        (
            "ListenStream=80\nKeepAlive=1\nReusePort=on\nFreeBind=yes\nReceiveBuffer=64K",
            ["tcp://*:80?keepalive=on&rcvbuf=64KiB&freebind=on&reuse_port=on"],
        ),
        ("ListenStream=80\nBacklog=4294967295", ["tcp://*:80?backlog=65535"]),
        ("ListenStream=80\nNoDelay=no\nKeepAlive=maybe", ["tcp://*:80"]),
    ],
)
def test_addresses_and_options_of_sockets_are_urls(lines: str, urls: list[str], tmp_path: Path) -> None:
    service, _ = listening(tmp_path, lines)
    assert service.get("listen") == urls
    assert service.enabled


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ListenSequentialPacket=/a", "ListenSequentialPacket=/a: netd has sockets for streams"),
        ("ListenDatagram=80", "with Accept=yes there are streams alone"),
        ("ListenStream=vsock:2:80", "netd cannot listen there"),
        ("ListenStream=/run/%b", "only systemd knows %b"),
        ("ListenFIFO=/a", "netd has sockets for streams"),
        ("ListenStream=80", "tcp://*:80 has this address already"),
        ("ListenStream=[::]:80", "tcp://*:80 has this address already"),
        ("ListenStream=127.0.0.1:80", "tcp://*:80 has this address already"),
    ],
)
def test_an_address_that_netd_cannot_have_is_told_and_the_rest_is_served(
    line: str, expected: str, tmp_path: Path
) -> None:
    service, account = accepting(tmp_path, line)
    assert service.get("listen") == ["tcp://*:80"]
    assert expected in account


def test_numbers_of_connections_are_limits_where_systemd_accepts(tmp_path: Path) -> None:
    service, _ = accepting(tmp_path, "MaxConnections=5\nMaxConnectionsPerSource=2")
    assert service.get("limits") == {"connections": 5, "per_source": 2}
    service, _ = accepting(tmp_path, "MaxConnections=x")
    assert service.get("limits") == {"connections": 64}
    service, account = accepting(tmp_path, "MaxConnections=0")
    assert not service.enabled
    service, account = listening(tmp_path, "ListenStream=80\nMaxConnections=5")
    assert service.get("limits") is None
    assert "no effect without Accept=yes" in account


@pytest.mark.parametrize(
    ("lines", "access"),
    [
        ("IPAddressAllow=10.0.0.0/8", None),
        ("IPAddressDeny=any", {"deny": ["any"]}),
        ("IPAddressDeny=any\nIPAddressAllow=10.0.0.0/8 192.0.2.1", {"allow": ["10.0.0.0/8", "192.0.2.1/32"]}),
        ("IPAddressDeny=any\nIPAddressAllow=localhost", {"allow": ["127.0.0.0/8", "::1/128"]}),
        ("IPAddressDeny=10.0.0.0/8", {"deny": ["10.0.0.0/8"]}),
        (
            "IPAddressDeny=10.0.0.0/8 192.0.2.0/24\nIPAddressAllow=10.1.0.0/16",
            {"allow": ["10.1.0.0/16", "any"], "deny": ["10.0.0.0/8", "192.0.2.0/24"]},
        ),
        # What is allowed wins in systemd, whatever the prefixes.
        ("IPAddressDeny=10.1.0.0/16\nIPAddressAllow=10.0.0.0/8", {"allow": ["10.0.0.0/8", "any"]}),
        ("IPAddressDeny=any\nIPAddressDeny=\nIPAddressAllow=10.0.0.1", None),
    ],
)
def test_networks_that_systemd_allows_win_over_denied_ones(
    lines: str, access: dict[str, list[str]] | None, tmp_path: Path
) -> None:
    service, _ = accepting(tmp_path, lines)
    assert service.get("access") == access
    assert service.enabled


def test_networks_are_not_for_unix_sockets(tmp_path: Path) -> None:
    service, account = listening(tmp_path, "ListenStream=/run/a\nIPAddressDeny=any")
    assert service.get("access") is None
    assert service.enabled
    assert "IPAddressDeny=any: it does nothing for UNIX sockets" in account
    service, account = accepting(tmp_path, "ListenStream=/run/a\nIPAddressDeny=any")
    assert service.get("access") is None
    assert not service.enabled


def test_networks_that_cannot_be_read_have_the_service_off(tmp_path: Path) -> None:
    service, account = accepting(tmp_path, "IPAddressDeny=x")
    assert not service.enabled
    assert "no list of networks; so the service is off" in account


def test_a_drop_in_replaces_addresses(tmp_path: Path) -> None:
    text = "# == .socket\n[Socket]\nListenStream=80\n# == .socket.d/a.conf\n[Socket]\nListenStream=\nListenStream=81\n"
    document, account = imported(f"{text}# == .service\n[Service]\nExecStart=/bin/cat\n", tmp_path)
    assert document.services["x"].get("listen") == ["tcp://*:81"]
    assert "x.socket:2: note: ListenStream=80: an empty assignment after it removes it" in account
    assert "x.socket.d/a.conf:3: imported: ListenStream=81" in account
