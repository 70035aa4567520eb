"""The listeners of a config, and the control socket in directories of several users."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.admission.access import NO_GROUPS
from netd.admission.proxies import NO_DATAGRAMS
from netd.config.loader import load
from netd.daemon.supervisor.config_diff import from_nothing
from netd.daemon.supervisor.listeners import Listeners, PreparedListeners
from netd.errors import OpenError
from netd.steps import finish
from netd.transport.activation import InheritedSocket
from tests.support.sockets import free_port

ECHO = "services: {{echo: {{listen: ['unix://{0}/a']}}}}"
MORE = "services: {{echo: {{listen: ['unix://{0}/a', 'unix://{0}/b']}}}}"
PASSED = "services: {{upper: {{listen: ['unix://{0}/a?mode=0604']}}}}"


class Open:
    """Listeners with the config `ECHO` in force."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.failed: list[tuple[str, str, str]] = []
        self.listeners = Listeners([], lambda *skipped: None, lambda *failed: self.failed.append(failed))
        self.listeners.commit(self.prepare(ECHO))

    def prepare(self, text: str) -> PreparedListeners:
        file = self.directory / "netd.yaml"
        file.write_text(text.format(self.directory))
        return finish(self.listeners.prepare(finish(from_nothing(load(file)))))

    @property
    def served(self) -> list[tuple[int, str, str]]:
        """Id, service and file name of each listener in force."""
        return [(one.id, one.listener.service, one.listener.url.rpartition("/")[2]) for one in self.listeners]

    @property
    def paths(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir() if path.is_socket())


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    made = Open(tmp_path)
    assert (made.served, made.paths) == ([(1, "echo", "a")], ["a"])
    yield made
    made.listeners.close()
    assert made.paths == []


def test_new_listener_is_opened_at_the_preparation_and_served_after_the_commit(opened: Open) -> None:
    prepared = opened.prepare(MORE)
    assert (opened.served, opened.paths) == ([(1, "echo", "a")], ["a", "b"])
    assert ([one.id for one in prepared.new], prepared.removed) == ([2], [])
    opened.listeners.commit(prepared)
    assert opened.served == [(1, "echo", "a"), (2, "echo", "b")]


def test_abort_closes_the_new_listeners_and_keeps_the_old_ones(opened: Open) -> None:
    opened.listeners.abort(opened.prepare(MORE))
    assert (opened.served, opened.paths) == ([(1, "echo", "a")], ["a"])


def test_removed_listener_stays_open_after_the_commit_until_it_is_closed(opened: Open) -> None:
    prepared = opened.prepare("services: {{}}")
    opened.listeners.commit(prepared)
    assert (opened.served, opened.paths) == ([], ["a"])
    finish(opened.listeners.close_removed(prepared))
    assert opened.paths == []


def test_listener_that_passes_to_another_service_keeps_its_id_and_socket(opened: Open) -> None:
    [before] = opened.listeners
    prepared = opened.prepare(PASSED)
    assert opened.served == [(1, "echo", "a")], "until the commit"
    assert (prepared.new, prepared.removed) == ([], [])
    opened.listeners.commit(prepared)
    [after] = opened.listeners
    assert (after.id, after.listener.service) == (1, "upper")
    assert after.listener.socket is before.listener.socket
    assert stat.S_IMODE((opened.directory / "a").stat().st_mode) == 0o604
    assert opened.failed == []


def test_socket_with_the_same_address_under_another_text_stays_open(tmp_path: Path) -> None:
    port = free_port()
    listeners = Listeners([], lambda *skipped: None, lambda *failed: None)

    def prepare(url: str) -> PreparedListeners:
        (tmp_path / "netd.yaml").write_text(f"services: {{echo: {{listen: ['{url}']}}}}")
        return finish(listeners.prepare(finish(from_nothing(load(tmp_path / "netd.yaml")))))

    listeners.commit(prepare(f"tcp://127.0.0.1:{port}"))
    [before] = listeners
    listeners.abort(prepare(f"tcp://127.0.0.1:{port}?reuse_port=on"))
    for url in (f"tcp://127.0.0.1:{port}?reuse_port=on&nodelay=off", f"tcp://127.0.0.1:{port}?freebind=on"):
        prepared = prepare(url)
        assert (prepared.new, prepared.removed, prepared.replaced()) == ([], [], [])
        listeners.commit(prepared)
        [after] = listeners
        assert (after.id, after.listener.socket) == (before.id, before.listener.socket)
        for name, value in ((socket.SO_REUSEPORT, "reuse_port=on" in url), (socket.SO_ACCEPTCONN, True)):
            assert bool(after.listener.socket.getsockopt(socket.SOL_SOCKET, name)) == value
        assert after.listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == ("nodelay" not in url)
    listeners.close()


def test_tcp_listener_is_replaced_if_a_new_one_has_its_address(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    listeners = Listeners([], lambda *skipped: None, lambda *failed: None)

    def prepare(*places: str) -> PreparedListeners:
        urls = [f"{scheme}://{place}" for place in places for scheme in ("tcp", "udp")]
        (tmp_path / "netd.yaml").write_text(f"services: {{echo: {{listen: {urls}}}}}")
        return finish(listeners.prepare(finish(from_nothing(load(tmp_path / "netd.yaml")))))

    listeners.commit(prepare(f"127.0.0.1:{port}", f"127.0.0.1:{other}"))
    prepared = prepare(f"*:{port}")
    assert [record.listener.url for record in prepared.replaced()] == [f"tcp://127.0.0.1:{port}"]
    assert len(prepared.removed) == 4
    listeners.abort(prepared)
    listeners.close()


def test_listener_with_options_that_cannot_be_changed_is_reported_and_served(opened: Open) -> None:
    (opened.directory / "a").unlink()
    (opened.directory / "a").write_text("")
    opened.listeners.commit(opened.prepare(PASSED))
    [(service, url, error)] = opened.failed
    assert (service, url) == ("upper", f"unix://{opened.directory}/a?mode=0604")
    assert "another file has taken its place" in error
    assert [one.listener.service for one in opened.listeners] == ["upper"]


def test_config_is_rejected_if_one_of_its_sockets_cannot_be_opened(opened: Open) -> None:
    (opened.directory / "taken").write_text("")
    with pytest.raises(OpenError):
        opened.prepare("services: {{echo: {{listen: ['unix://{0}/a', 'unix://{0}/b', 'unix://{0}/taken']}}}}")
    assert (opened.served, opened.paths) == ([(1, "echo", "a")], ["a"])


@pytest.mark.parametrize(
    ("name", "kind", "problem"),
    [
        ("time", socket.SOCK_DGRAM, None),
        ("metrics", socket.SOCK_STREAM, None),
        ("metrics", socket.SOCK_DGRAM, "is a datagram socket, which 'metrics' does not serve"),
    ],
)
def test_inherited_socket_of_a_type_that_its_service_does_not_serve_is_refused(
    tmp_path: Path, name: str, kind: int, problem: str | None
) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(f"services:\n  one: {{type: {name}, listen: ['systemd://x']}}\n")
    with socket.socket(socket.AF_INET, kind) as handed:
        handed.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            handed.listen()
        listeners = Listeners([InheritedSocket("x", handed)], lambda *skipped: None, lambda *failed: None)
        work = listeners.prepare(finish(from_nothing(load(file))))
        if problem:
            with pytest.raises(OpenError) as raised:
                finish(work)
            [line] = raised.value.problems
            assert line.endswith(f"services.one.listen[0]: systemd://x {problem}")
        else:
            listeners.commit(finish(work))
        listeners.close()


def test_gid_rules_are_refused_on_an_inherited_datagram_socket(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as handed:
        handed.bind(str(tmp_path / "s"))
        listeners = Listeners([InheritedSocket("x", handed)], lambda *skipped: None, lambda *failed: None)
        for access, problem in (
            ("", None),
            (
                ", access: {deny: ['gid:27']}",
                f"{file}:2:19: services.echo.listen[0]: unixgram://{tmp_path}/s: {NO_GROUPS}",
            ),
            (", access: {deny: ['uid:27']}", None),
        ):
            file.write_text(f"services:\n  echo: {{listen: ['systemd://x']{access}}}\n")
            if problem:
                with pytest.raises(OpenError) as raised:
                    finish(listeners.prepare(finish(from_nothing(load(file)))))
                assert raised.value.problems == (problem,)
            else:
                listeners.commit(finish(listeners.prepare(finish(from_nothing(load(file))))))
        listeners.close()


def test_proxies_are_refused_on_an_inherited_datagram_socket(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("services:\n  echo: {listen: ['systemd://x'], proxy_protocol: {from: [local]}}\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as handed:
        handed.bind(str(tmp_path / "s"))
        listeners = Listeners([InheritedSocket("x", handed)], lambda *skipped: None, lambda *failed: None)
        with pytest.raises(OpenError) as raised:
            finish(listeners.prepare(finish(from_nothing(load(file)))))
        place = f"{file}:2:19: services.echo.listen[0]: unixgram://{tmp_path}/s"
        assert raised.value.problems == (f"{place}: {NO_DATAGRAMS}",)
        listeners.close()
