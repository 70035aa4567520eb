"""What a listener knows of its socket and its file."""

from pathlib import Path

import pytest

from netd.endpoints import Endpoint
from netd.transport.listener import Listener, socket_url, transport_of
from tests.transport.listeners import close, open_all


@pytest.mark.parametrize("transport", ["tcp", "udp", "unix", "unixgram"])
def test_transport_of_a_listener_is_that_of_its_socket(tmp_path: Path, transport: str) -> None:
    place = f"{tmp_path}/s" if transport.startswith("unix") else "127.0.0.1:0"
    [listener] = open_all(f"{transport}://{place}")
    handed = Listener("x", Endpoint.parse("systemd://x"), listener.socket)
    assert listener.transport == handed.transport == transport_of(listener.socket) == transport
    assert listener.url == handed.url == socket_url(listener.socket)
    assert listener.url.startswith(f"{transport}://{place.removesuffix('0')}")
    close([listener])


def test_url_names_the_port_of_the_kernel_all_addresses_and_tls() -> None:
    for url in ("tcp://*:0", "tls://127.0.0.1:0", "udp://127.0.0.1:0"):
        [listener] = open_all(url)
        assert listener.url == url[:-1] + str(listener.socket.getsockname()[1])
        close([listener])


def test_file_is_removed_with_the_listener_unless_it_is_kept_or_lost(tmp_path: Path) -> None:
    path = tmp_path / "s"
    [listener] = open_all(f"unix://{path}")
    assert not listener.has_lost_file
    listener.close(keep_path=True)
    assert path.exists()
    [listener] = open_all(f"unix://{path}")
    path.unlink()
    assert listener.has_lost_file
    close([listener])
    [listener] = open_all("tcp://127.0.0.1:0")
    assert not listener.has_lost_file
    close([listener])


def test_socket_file_with_a_changed_mode_is_removed_too(tmp_path: Path) -> None:
    [listener] = open_all(f"unix://{tmp_path}/s")
    (tmp_path / "s").chmod(0o600)
    listener.close()
    assert not (tmp_path / "s").exists()
    listener.close()
