"""Opening endpoints: the sockets and their options, and the one line of an error."""

import errno
import gc
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from netd.endpoints import Endpoint
from netd.errors import OpenError
from netd.transport.listen import open_listeners
from netd.transport.listener import Listener
from tests.support.seccomp import without_family
from tests.support.sockets import ABSTRACT, has_ipv6
from tests.transport.listeners import close, open_all


def refusal(*urls: str) -> list[str]:
    gc.collect()  # sockets that other tests have left must not be closed meanwhile
    descriptors = set(os.listdir("/proc/self/fd"))
    with pytest.raises(OpenError) as raised:
        close(open_all(*urls))
    assert raised.value.exit_code == 71
    assert set(os.listdir("/proc/self/fd")) == descriptors, "something stays open"
    return list(raised.value.problems)


def option(listener: Listener, level: int, name: int) -> int:
    return listener.socket.getsockopt(level, name)


def test_socket_options_are_set() -> None:
    plain, tuned, udp = open_all(
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:0?nodelay=off&keepalive=on&reuse_port=on&rcvbuf=8KiB&sndbuf=16KiB&freebind=on",
        "udp://127.0.0.1:0?rcvbuf=8KiB",
    )
    try:
        assert option(plain, socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert option(plain, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        assert option(plain, socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        assert option(tuned, socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        assert option(tuned, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert option(tuned, socket.SOL_SOCKET, socket.SO_REUSEPORT) == 1
        assert option(tuned, socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 16384
        assert option(udp, socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 8192
        assert option(tuned, socket.IPPROTO_IP, 15) == 1
        assert option(udp, socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0, "another could take the datagrams"
        with socket.create_connection(tuned.socket.getsockname()) as client:
            accepted, _ = tuned.socket.accept()
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            accepted.close()
            client.close()
    finally:
        close([plain, tuned, udp])


def test_backlog_is_that_of_the_endpoint() -> None:
    [listener] = open_all("tcp://127.0.0.1:0?backlog=3")
    try:
        port = listener.socket.getsockname()[1]
        lines = subprocess.run(["cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout.splitlines()
        assert any(f":{port:04X} 00000000:0000 0A" in line for line in lines)
        clients = []
        for _ in range(6):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.socket.getsockname())
            clients.append(client)
        # backlog + 1 connections are completed; the kernel does not complete the others.
        connected = sum(1 for client in clients if _connected(client))
        assert connected == 4
        for client in clients:
            client.close()
    finally:
        listener.close()


def _connected(client: socket.socket) -> bool:
    try:
        client.getpeername()
    except OSError:
        return False
    return True


def test_port_0_and_names_and_all_addresses() -> None:
    listeners = open_all("tcp://127.0.0.1:0", "udp://*:0", "tcp://localhost:0")
    try:
        assert [listener.url.rpartition(":")[0] for listener in listeners][:3] == [
            "tcp://127.0.0.1",
            "udp://*",
            "tcp://127.0.0.1" if listeners[2].socket.getsockname()[0] != "::1" else "tcp://[::1]",
        ]
        assert all(not listener.url.endswith(":0") for listener in listeners)
        assert len({listener.url.rpartition(":")[2] for listener in listeners[2:]}) == 1, "a name has one port"
    finally:
        close(listeners)


def test_both_families_have_one_socket_and_one_family_alone_leaves_the_other_free() -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 on this host")
    [both] = open_all("tcp://*:0")
    port = both.socket.getsockname()[1]
    for address in ("127.0.0.1", "::1"):
        socket.create_connection((address, port)).close()
    both.close()
    listeners = open_all(f"tcp://[::]:{port}", f"tcp://0.0.0.0:{port}")
    assert [listener.url for listener in listeners] == [f"tcp://[::]:{port}", f"tcp://0.0.0.0:{port}"]
    close(listeners)


def test_host_without_ipv6_serves_all_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without(family: int = -1, *arguments: int, **more: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, os.strerror(97))
        return real(family, *arguments, **more)

    monkeypatch.setattr(socket, "socket", without)
    [listener] = open_all("tcp://*:0")
    assert listener.socket.getsockname()[0] == "0.0.0.0"
    listener.close()


def test_host_that_forbids_ipv6_serves_all_of_ipv4() -> None:
    def check() -> None:
        told: list[str] = []
        wanted = [("s", Endpoint.parse(url)) for url in ("tcp://*:0", "udp://*:0", "tcp://localhost:0")]
        listeners = open_listeners(wanted, lambda service, url, error: told.append(error))
        assert {listener.socket.family for listener in listeners} == {socket.AF_INET}
        assert set(told) <= {os.strerror(errno.EPERM)}
        close(listeners)
        assert refusal("tcp://[::1]:0")[0].endswith(f": {os.strerror(errno.EPERM)}")

    without_family(socket.AF_INET6, check)


def test_address_of_a_name_that_this_host_lacks_is_skipped_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: found)
    told: list[tuple[str, str, str]] = []
    listeners = open_listeners([("s", Endpoint.parse("tcp://name:0"))], lambda *skipped: told.append(skipped))
    assert told == [("s", "tcp://192.0.2.1:0", "Cannot assign requested address")]
    assert len(listeners) == 1
    close(listeners)
    found.pop()
    assert "Cannot assign requested address" in refusal("tcp://name:0")[0]


def test_port_in_use_is_an_error_with_a_remedy() -> None:
    [holder] = open_all("tcp://127.0.0.1:0")
    port = holder.socket.getsockname()[1]
    try:
        [problem] = refusal("udp://127.0.0.1:0", f"tcp://127.0.0.1:{port}")
        assert problem == (
            f"services.s: cannot listen on tcp://127.0.0.1:{port}: Address already in use; "
            f"see which program has it: ss -tanp 'sport = :{port}'"
        )
    finally:
        holder.close()
    [holder] = open_all("udp://127.0.0.1:0")
    port = holder.socket.getsockname()[1]
    try:
        assert "ss -uanp" in refusal(f"udp://127.0.0.1:{port}")[0]
    finally:
        holder.close()


def test_every_refusal_is_reported() -> None:
    problems = refusal(
        "tcp://192.0.2.1:0", "tcp://no-such-host.invalid:7", "tcp://127.0.0.1:0?device=nosuch0", "unix:///proc/none/x"
    )
    assert problems[0] == (
        "services.s: cannot listen on tcp://192.0.2.1:0: Cannot assign requested address; "
        "this host has no such address (see: ip address); freebind=on binds it anyway"
    )
    assert "no-such-host.invalid" in problems[1]
    assert "device=nosuch0" in problems[2]
    assert problems[3].endswith("No such file or directory; make the directory /proc/none first")


def test_freebind_binds_an_address_that_this_host_lacks() -> None:
    close(open_all("tcp://192.0.2.1:0?freebind=on"))
    if has_ipv6():
        close(open_all("udp://[2001:db8::1]:0?freebind=on"))


def test_port_without_the_right_to_it_is_an_error_with_a_remedy() -> None:
    script = (
        "import os; from tests.transport.listeners import open_all\n"
        "os.setgid(65534) if os.getuid() == 0 else None; os.setuid(65534) if os.getuid() == 0 else None\n"
        "try: open_all('tcp://127.0.0.1:7')\n"
        "except Exception as error: print(error)"
    )
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 7:
        pytest.skip("an unprivileged user may bind every port here")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "services.s: cannot listen on tcp://127.0.0.1:7: Permission denied; "
        "a port below 1024 needs root or CAP_NET_BIND_SERVICE (capabilities(7))\n"
    )


@pytest.mark.parametrize("kind", ["unix", "unixgram"])
def test_path_is_made_with_its_mode_and_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    listeners = open_all(f"{kind}://{path}?mode=0640&owner={os.getuid()}&group={os.getgid()}")
    assert stat.filemode(path.stat().st_mode) == "srw-r-----"
    close(listeners)
    assert not path.exists()
    listeners = open_all(f"{kind}://{path}")
    assert stat.filemode(path.stat().st_mode) == "srw-rw-rw-"
    close(listeners)


@pytest.mark.parametrize("kind", ["unix", "unixgram"])
def test_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    [first] = open_all(f"{kind}://{path}")
    for other in ("unix", "unixgram"):
        assert refusal(f"{other}://{path}")[0].endswith("Address already in use; another program listens there")
    first.socket.close()  # as a crash: the path stays
    assert path.exists()
    [second] = open_all(f"{kind}://{path}")
    first.close()
    assert path.exists(), "a socket that is another's by now was removed"
    second.close()
    assert not path.exists()


def test_live_socket_with_a_full_queue_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    [listener] = open_all(f"unix://{path}?backlog=1")
    clients = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for client in clients:
        client.connect(str(path))
    assert "Address already in use" in refusal(f"unix://{path}")[0]
    for client in clients:
        client.close()
    listener.close()


def test_file_of_another_kind_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        assert "there is a file in its place that is not a socket" in refusal(f"unix://{tmp_path}/{name}")[0]
    assert (tmp_path / "file").read_text() == "precious"


def test_unknown_owner_is_an_error(tmp_path: Path) -> None:
    assert "there is no user 'nosuchuser'" in refusal(f"unix://{tmp_path}/s?owner=nosuchuser")[0]
    assert "there is no group 'nosuchgroup'" in refusal(f"unix://{tmp_path}/s?group=nosuchgroup")[0]
    assert not list(tmp_path.iterdir())


def test_path_accepts_no_connection_before_its_owner_and_mode_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[int] = []
    chmod = os.chmod

    def watched(path: str, mode: int) -> None:
        before.append(stat.S_IMODE(os.stat(path).st_mode))
        chmod(path, mode)

    monkeypatch.setattr(os, "chmod", watched)
    close(open_all(f"unix://{tmp_path}/s"))
    assert before == [0]


def test_abstract_name_has_no_file() -> None:
    [listener] = open_all(f"unix://{ABSTRACT}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(ABSTRACT.replace("@", "\0"))
    assert listener.url == f"unix://{ABSTRACT}"
    assert "Address already in use; another program listens there" in refusal(f"unix://{ABSTRACT}")[0]
    listener.close()


def test_backlog_of_a_unix_socket_is_that_of_the_endpoint(tmp_path: Path) -> None:
    [listener] = open_all(f"unix://{tmp_path}/s?backlog=3")
    clients = [socket.socket(socket.AF_UNIX) for _ in range(6)]
    for client in clients:
        client.setblocking(False)
    assert sum(client.connect_ex(str(tmp_path / "s")) == 0 for client in clients) == 4
    for client in clients:
        client.close()
    listener.close()


def test_port_is_bound_again_while_connections_are_in_time_wait() -> None:
    [listener] = open_all("tcp://127.0.0.1:0")
    port = listener.socket.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = listener.socket.accept()
        accepted.close()  # the side that closes first keeps the port in TIME_WAIT
        assert client.recv(1) == b""
    listener.close()
    close(open_all(f"tcp://127.0.0.1:{port}"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away and binds to interfaces")
def test_root_sets_owner_and_interface() -> None:
    with tempfile.TemporaryDirectory() as directory:  # others may enter what is above it
        _only_root(Path(directory))


def _only_root(tmp_path: Path) -> None:
    [path] = open_all(f"unix://{tmp_path}/s?owner=nobody&group=65534")
    assert (os.stat(tmp_path / "s").st_uid, os.stat(tmp_path / "s").st_gid) == (65534, 65534)
    path.close()
    [bound] = open_all("udp://127.0.0.1:0?device=lo")
    assert bound.socket.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).startswith(b"lo\0")
    bound.close()
    assert refusal("udp://127.0.0.1:0?device=nosuch0")[0].endswith("; there is no interface 'nosuch0' (see: ip link)")

    live, closed = tmp_path / "live", tmp_path / "closed"
    closed.mkdir()
    [holder] = open_all(f"unix://{live}?mode=000")
    tmp_path.chmod(0o755)
    script = (
        "import os; from tests.transport.listeners import open_all\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"try: open_all('unix://{live}', 'unix://{closed}/x')\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"services.s: cannot listen on unix://{path}: Permission denied; {path.parent} and its owner must let "
        "this user write there, and only root gives files away"
        for path in (live, closed / "x")
    ]
    assert live.exists(), "a socket that may be in use was removed"
    holder.close()


def test_unknown_host_name_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert refusal("tcp://nosuch:7")[0].endswith(
        "Name or service not known; name an address, or see that the name resolves on this host"
    )


def test_link_local_address_needs_its_interface() -> None:
    if has_ipv6():
        [problem] = refusal("tcp://[fe80::1]:0")
        assert problem.endswith("; a link-local address needs its interface, as in [fe80::1%eth0]")


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_yielding_socket_with_the_address_of_an_endpoint_is_used_again(scheme: str) -> None:
    [old] = open_all(f"{scheme}://127.0.0.1:0")
    url = f"{scheme}://127.0.0.1:{old.socket.getsockname()[1]}?reuse_port=on"
    [new] = open_listeners([("s", Endpoint.parse(url))], lambda *skipped: None, yielding=[old])
    assert (new.socket, str(new.endpoint)) == (old.socket, url)
    with pytest.raises(OpenError):
        open_listeners(
            [("s", Endpoint.parse(url)), ("s", Endpoint.parse("tcp://192.0.2.1:0"))],
            lambda *skipped: None,
            yielding=[old],
        )
    assert old.socket.fileno() >= 0, "a failure leaves it open"
    close([old])


def test_yielding_socket_stays_open_if_another_address_of_the_name_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    [old] = open_all("tcp://127.0.0.1:0")
    port = old.socket.getsockname()[1]
    holder = socket.create_server(("127.0.0.2", port))
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: found)
    try:
        for wanted in ([f"tcp://name:{port}"], ["tcp://127.0.0.3:0", f"tcp://name:{port}"]):
            with pytest.raises(OpenError, match="Address already in use"):
                open_listeners([("s", Endpoint.parse(url)) for url in wanted], lambda *skipped: None, yielding=[old])
            with socket.socket() as client:
                client.connect(("127.0.0.1", port))
    finally:
        holder.close()
        old.close()
