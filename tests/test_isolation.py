"""Tests touch nothing of the host: what they name of it, and what they leave behind."""

import ast
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd import default_paths
from tests.source_tree import ROOT
from tests.support.leftovers import nothing_left, signals_as_before

# A directory of the file system, or what would be one, but no page of a web server and no rest of a path in a place.
_PATH = re.compile(
    r"(?:(?<=://)|(?<![\w.}/*-]))/(?:bin|boot|dev|etc|home|lib\d*|media|mnt|no(?:nexistent|ne|where|such)?|opt|proc|root"
    r"|run|sbin|srv|sys|tmp|usr|var)\b[\w./@-]*"
)
_ANYWHERE = re.compile(r"/(?:proc|dev/(?:null|full|zero|stdout|fd/\d))\b|/(?:usr|bin)/")
_PORT = re.compile(r"(?:tcp|udp|http)://(?:\[[^]\s]*\]|[^:/\s\"'\[\],]*):([1-9]\d*)")
_PROGRAM = re.compile(r"\b(?:systemctl|journalctl|systemd-run|loginctl|pkill|killall|fuser|/run/netd)\b")
_ABSTRACT = re.compile(r"://@[\w-]+(?![\w{}-])|\A[@\0]netd[\w-]*\Z")

# What a file names all the same, and why that touches nothing of the host the tests run on.
NAMED = {
    "tests/systemd": (r".*", "the lab, which has a root and a network of its own"),
    "tests/admission/test_control.py": (r"/run/netd.*", "paths that are compared and not opened"),
    "tests/cli/completion/test_candidates.py": (r"\w+://\S+:\d+", "words in an answer"),
    "tests/cli/completion/test_command.py": (r"tcp://\S+:9", "a target to which no connection is passed on"),
    "tests/cli/probe/test_command.py": (r".*:7", "refused before anything is sent, or in a network namespace"),
    "tests/cli/test_check.py": (r"\w+://(\*|192\.0\.2\.1):\d+.*", "read only, or an address that no host has"),
    "tests/cli/test_columns.py": (r"/etc/netd/netd\.yaml", "a word in an answer"),
    "tests/cli/test_exit_codes.py": (r"/no/such/\S*", "what does not exist"),
    "tests/cli/test_run.py": (r"\S+:7090", "in a network namespace"),
    "tests/cli/test_talk.py": (r"\S+:7", "refused before anything is sent, or of a name that does not exist"),
    "tests/cli/test_tls_options.py": (r"\w+://localhost:1", "refused before anything is sent"),
    "tests/cli/top/answers.py": (r"/etc/netd/netd\.yaml", "a word in an answer"),
    "tests/cli/top/test_screen.py": (r"/etc/netd/netd\.yaml|/run/", "words in an answer"),
    "tests/client/probe/test_checks.py": (r"/run/it", "a word"),
    "tests/client/probe/test_faults.py": (r"udp://a\.\.b:7", "no name that could exist"),
    "tests/client/probe/test_targets.py": (r"\w+://\S+:[17]|://@x", "URLs that are read; no name that could exist"),
    "tests/client/talk/test_conversation.py": (r"tcp://name:7", "the name of a link that has no socket"),
    "tests/client/talk/test_link.py": (r"\w+://name:7", "a name that means what the test says"),
    "tests/client/test_urls.py": (r"/run/x|\w+://\S+:[17]|://@x", "URLs that are read"),
    "tests/admission/test_banner.py": (r"/nonexistent/\w+", "paths that are not opened"),
    "tests/config/test_banners.py": (r"/nonexistent|/run/x|/bin/true|/bin|\w+://\S+", "checked and not served"),
    "tests/config/test_code_child.py": (r"/none\S*", "a path that does not exist"),
    "tests/config/test_executables.py": (r"/none", "a path in a directory of its own"),
    "tests/config/test_forwards.py": (r"/run/+[xy]|\w+://\S+", "checked and not served"),
    "tests/config/test_loader.py": (r"\w+://\S+", "checked and not served"),
    "tests/config/test_services.py": (r"/run/[xyz]|\w+://\S+", "checked and not served"),
    "tests/config/test_programs.py": (r"/run/x|/tmp|/none|/bin|\w+://\S+", "checked and not served"),
    "tests/config/test_proxies.py": (r"/run/x|/bin|\w+://\S+", "checked and not served"),
    "tests/config/test_tcpmux.py": (r"/nonexistent|/bin\S*|\w+://\S+", "checked and not served"),
    "tests/config/test_workers.py": (r"://@NAME", "a word in a message"),
    "tests/cli/test_import_command.py": (r"tcp://\S+:102[56]\]?", "a URL that is written and not served"),
    "tests/importers/inetd/test_beside_inetd.py": (r"/run", "a mount of its own"),
    "tests/importers/inetd/test_convert.py": (r"/etc/(hosts\S+|os-release|inetd.d/)", "names in a made-up host"),
    "tests/importers/inetd/test_listen.py": (r"/run/a", "a path that is not opened"),
    "tests/importers/inetd/test_program.py": (r"/etc/hosts.deny", "a name in a made-up host"),
    "tests/importers/made_up_host.py": (r"/opt/gone", "a program that is nowhere"),
    "tests/importers/systemd/test_files.py": (r"/etc|/lib|/dev/null", "directories below that of the test, and a link"),
    "tests/importers/systemd/test_programs.py": (r"/opt/gone|/srv|/run|/etc/default/x", "words that are not opened"),
    "tests/importers/systemd/test_sockets.py": (r"/run/\S*", "paths that are not opened"),
    "tests/importers/systemd/test_units.py": (r"/etc/d\S*|/run/d\S*", "paths that are not opened"),
    "tests/importers/systemd/test_words.py": (r"/run\S*", "words"),
    "tests/importers/test_account.py": (r"/etc/", "a word"),
    "tests/importers/test_host.py": (r"/etc/os-release", "the file that is asked for, and only read"),
    "tests/importers/test_programs.py": (r"/etc/systemd/.*", "words of a note"),
    "tests/importers/xinetd/test_addresses.py": (r"/etc/networks", "words of a note"),
    "tests/importers/xinetd/test_banners.py": (r"/nonexistent", "a file that does not exist"),
    "tests/importers/xinetd/test_beside_xinetd.py": (r"/nowhere", "a file that does not exist"),
    "tests/importers/xinetd/test_command_line.py": (r"/etc/inetd\.conf", "words of a note"),
    "tests/importers/test_samples.py": (r"/etc/xinetd\.d", "a place in a sample, which is replaced"),
    "tests/importers/xinetd/test_listen.py": (r"/etc/services", "words of a note"),
    "tests/importers/xinetd/test_service.py": (r"/var/log/x", "words of a note"),
    "tests/deploy/test_kubernetes.py": (r"/etc/netd|/dev/shm/", "paths in the manifests, which the test replaces"),
    "tests/deploy/test_prometheus.py": (r"tcp://\S+|http://127\S+", "in a network namespace"),
    "tests/test_contrib.py": (r"/etc/fail2ban", "what is copied"),
    "tests/deploy/test_nginx.py": (r"/etc/nginx\S*", "a path in a config, which the test replaces"),
    "tests/test_troubleshooting.py": (r"tcp://127.0.0.1:7", "in a network namespace"),
    "tests/test_commands.py": (
        r"\w+://\S+|127.0.0.1:7007|/tmp/|/etc/netd/\S+",
        "in a namespace, or what it replaces",
    ),
    "tests/examples/test_whois.py": (
        r"/srv/whois|/etc/passwd",
        "a path that the test replaces, and a name that is asked for",
    ),
    "tests/daemon/launcher/test_listeners.py": (r"/no/such", "a program that does not exist"),
    "tests/daemon/launcher/test_programs.py": (r"/no/such", "a program that does not exist"),
    "tests/daemon/launcher/test_spawn.py": (r"/no/such\S*", "programs and directories that do not exist"),
    "tests/daemon/launcher/test_workers.py": (r"/no/such", "a program that does not exist"),
    "tests/daemon/launcher/test_worker_faults.py": (r"/no/such", "a program that does not exist"),
    "tests/daemon/messages/test_programs.py": (r"/run/\S*", "words in a message"),
    "tests/daemon/test_shared_limits.py": (r"tcp://\*:7", "in a network namespace"),
    "tests/daemon/launcher/test_error_pipes.py": (r"/dev/stderr", "what a program of the test has there"),
    "tests/daemon/test_program_faults.py": (r"/etc/passwd", "in a mount namespace"),
    "tests/daemon/test_daemonize.py": (
        r"tcp://(?:\*|192\.0\.2\.1):7",
        "a config that is refused, an address of no host",
    ),
    "tests/services/chat/test_chat.py": (r"/etc/passwd", "words that are said"),
    "tests/services/chat/test_chat_datagrams.py": (r"/tmp/a", "the name of a peer"),
    "tests/services/exec/test_environment.py": (r"/\S+", "words in an environment"),
    "tests/services/exec/test_options.py": (r"/srv", "a path that is read and not opened"),
    "tests/services/forward/test_forward.py": (r"/run/x", "a URL that is read and not opened"),
    "tests/services/forward/test_options.py": (r"/run/x", "a URL that is read and not opened"),
    "tests/services/forward/test_target.py": (r"/run/.*", "URLs that are read and not opened"),
    "tests/services/metrics/test_http.py": (r"http://localhost:7090", "a word in a request"),
    "tests/services/python/test_handlers.py": (
        r"/run/client|192\.0\.2\.8:1",
        "a path that is read, and an address that is refused",
    ),
    "tests/services/python/test_loading.py": (r"/none\S*", "paths that are read and not opened"),
    "tests/services/python/test_running.py": (r"/none\S*", "paths that are read and not opened"),
    "tests/services/python/test_request_handlers.py": (r"/none\S*", "a path that is read and not opened"),
    "tests/services/python/test_options.py": (r"/srv\S*", "paths that are read and not opened"),
    "tests/services/test_table.py": (r".*:[1-7]", "checked and not served"),
    "tests/services/test_whoami.py": (r"/run/x", "a word"),
    "tests/telemetry/statuses.py": (r"/run/x\.sock|\w+://\S+:(7|80)", "words in an answer"),
    "tests/telemetry/test_exposition.py": (r"\w+://\S+:80", "words in an answer"),
    "tests/telemetry/test_logs.py": (r"tcp://127\.0\.0\.1:7", "a word"),
    "tests/support/cgroups.py": (r"/sys/fs/cgroup", "a group of its own below that of the tests, which it removes"),
    "tests/test_addresses.py": (r"/run/.*", "words"),
    "tests/test_endpoints.py": (r".*", "URLs that are read and not opened"),
    "tests/test_host_zone.py": (r"/etc/localtime", "in a mount namespace"),
    "tests/test_isolation.py": (r".*", "this list"),
    "tests/test_from_xinetd.py": (r"/etc/.*", "what the page says, which is put into the place of the test"),
    "tests/packaging/conftest.py": (r"tcp://\*:700[78]", "a config in a container, as below"),
    "tests/packaging/test_container.py": (r".*", "a container, which has a root and a network of its own"),
    "tests/packaging/test_containerfile.py": (r".*", "a container, and sources of packages that are read"),
    "tests/packaging/test_deb.py": (r".*", "the lab, as above, and what is in the package"),
    "tests/packaging/test_fresh_hosts.py": (r".*", "the lab, as above"),
    "tests/packaging/test_install.py": (r"/opt/netd-test\S*|/etc/netd", "words in what is staged elsewhere"),
    "tests/test_json.py": (r"/no/such/socket", "what does not exist"),
    "tests/test_peer.py": (r"/run/", "a word"),
    "tests/test_peer_filter.py": (r"/run/.*", "words"),
    "tests/daemon/worker/test_connections.py": (r"tcp://\[[0:]*:1\]:\d+", "targets that are compared"),
    "tests/daemon/worker/test_kinds.py": (r"/none\S*", "a path that is read and not opened"),
    "tests/examples/test_gopher.py": (r"/none\S*", "paths that are read and not opened"),
    "tests/daemon/test_targets.py": (r"/no/such/\w+", "what does not exist"),
    "tests/daemon/test_forward.py": (r"/no/such/socket|tcp://no\.such\.host\.invalid:80", "what does not exist"),
    "tests/daemon/test_log_output.py": (r"/dev/log|/run/none", "in a mount namespace, or a word"),
    "tests/support/namespaces.py": (r"/dev/?\S*", "in a mount namespace"),
    "tests/test_default_paths.py": (r"/run/netd", "the place that is asked for, and not used"),
    "tests/test_values.py": (r"/etc/.*|(?:tcp|udp)://\*:7", "names of time zones that are none, words of a hint"),
    "tests/test_recipes.py": (r"/run\S*|/etc\S*|/srv/\S+", "words that are replaced, and places in a mount namespace"),
    "tests/test_tour.py": (r"/tmp/", "what the tour says, which is put into the test's place"),
    "tests/transport/datagram/test_loops.py": (r".*:40007", "in a network namespace"),
    "tests/transport/datagram/test_reply_guard.py": (r".*:4007", "in a network namespace"),
    "tests/transport/test_listen.py": (
        r"tcp://127\.0\.0\.1:7|tcp://no-?such\S*:7",
        "without the right to it; names that do not exist",
    ),
    "tests/transport/stream/test_connecting.py": (r"tcp://name:80", "a name with the addresses that the test gives"),
    "tests/transport/stream/test_server.py": (r"tcp://127\.0\.0\.1:5", "a word"),
}


def texts(tree: ast.AST) -> Iterator[str]:
    """The strings of a file but its docstrings; what is put into one stands there as ``{}``."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            skipped.add(id(node.body[0].value))  # type: ignore[attr-defined]
        elif isinstance(node, ast.JoinedStr):
            skipped.update(map(id, node.values))
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and id(node) not in skipped:
            yield node.value.decode("latin-1") if isinstance(node.value, bytes) else str(node.value)


def opens(tree: ast.AST) -> bool:
    """Whether a file can open a socket or start a process: it imports what does, or takes a fixture that is one."""
    modules, names = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return bool(
        modules & {"socket", "subprocess", "click.testing"}
        or names & {"Daemon", "daemon", "Server", "server", "started"}
    )


def of_the_host(text: str) -> list[str]:
    """What a test file names that is not its own: places, ports, programs that speak to the host's services."""
    tree = ast.parse(text)
    patterns = (_PORT, _PROGRAM, _ABSTRACT) if opens(tree) else ()
    found = []
    for said in texts(tree):
        found += [path for path in _PATH.findall(said) if not _ANYWHERE.match(path)]
        found += [match[0] for pattern in patterns for match in pattern.finditer(said)]
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="bind" | "connect" | "connect_ex" | "create_connection" | "create_server"),
                args=[ast.Tuple(elts=[ast.Constant(value=str(host)), ast.Constant(value=int(port)), *_]), *_],
            ) if port:
                found.append(f"{host}:{port}")
            case ast.List(elts=words) | ast.Tuple(elts=words) if not any(isinstance(one, ast.Starred) for one in words):
                # Without a config it would be the one of the host, or the built-in one with its ports.
                given = {one.value for one in words if isinstance(one, ast.Constant)}
                if {"netd", "run"} <= given and "-c" not in given:
                    found.append("netd run")
    return found


@pytest.mark.parametrize("file", sorted((ROOT / "tests").rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_test_names_nothing_of_the_host_it_runs_on(file: Path) -> None:
    path = str(file.relative_to(ROOT))
    allowed = [pattern for place, (pattern, _) in NAMED.items() if f"{path}/".startswith(f"{place}/")]
    found = of_the_host(file.read_text())
    assert [one for one in found if not any(re.fullmatch(pattern, one) for pattern in allowed)] == []
    assert found or not allowed or path.startswith("tests/systemd"), "what is allowed to it, it does not need"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x = 'unix:///run/netd/control.sock'", ["/run/netd/control.sock"]),
        ("x = f'check -c /nonexistent {y}'", ["/nonexistent"]),
        ("x = '{tmp}/run/c', f'{y}/etc/passwd', 'http://h/run', '/proc/none', '/dev/null', '/usr/bin/env'", []),
        ("import socket\nx = 'tcp://127.0.0.1:7007', 'udp://[::1]:7', 'tcp://*:0'", ["tcp://127.0.0.1:7007", "udp://[::1]:7"]),
        ("x = 'tcp://127.0.0.1:7007'", []),
        ("import socket\nsocket.socket().bind(('', 7090))", [":7090"]),
        ("import subprocess\nx = ['pkill', 'netd'], 'unix://@netd-test'", ["pkill", "://@netd-test"]),
        ("def f():\n    '/run/netd'", []),
        ("x = ['netd', 'run'], ['netd', 'run', '-c', file], ['netd', 'run', *arguments]", ["netd run"]),
    ],
)  # fmt: skip
def test_the_test_of_what_tests_name_sees_it(text: str, found: list[str]) -> None:
    assert sorted(of_the_host(text)) == sorted(found)


def test_a_netd_of_this_host_is_not_found_by_a_test(place: Path) -> None:
    assert default_paths.control_sockets() == [f"{place}/control.sock"]
    done = subprocess.run([sys.executable, "-m", "netd", "stop"], capture_output=True, text=True, check=False)
    assert done.returncode == 69
    assert done.stderr.endswith(f"looked at {place}/control.sock (No such file or directory)\n")


@pytest.mark.slow
def test_processes_and_sockets_that_a_test_leaves_behind_fail_it() -> None:
    with pytest.raises(AssertionError, match="left behind: the processes .'sleep 60'"), nothing_left(0.1):
        process = subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE)
    assert process.returncode == -9
    with pytest.raises(AssertionError, match="left behind: the processes .'sleep 61'"), nothing_left(0.1):
        subprocess.run(["sh", "-c", "sleep 61 &"], check=True)  # what its parent has left to others is seen too
    with pytest.raises(AssertionError, match=r"left open: the sockets .*127\.0\.0\.1"), nothing_left(0.1):
        listener = socket.create_server(("127.0.0.1", 0))
    assert listener.fileno() == -1
    with nothing_left():
        subprocess.run(["sh", "-c", "sleep 0.2 &"], check=True)
    with nothing_left():
        threading.Timer(0.2, socket.create_server(("127.0.0.1", 0)).close).start()


def test_signals_that_a_test_leaves_blocked_or_handled_fail_it() -> None:
    with pytest.raises(AssertionError, match="left blocked: .*SIGHUP"), signals_as_before():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(AssertionError, match="left with another handler: .*SIGUSR2"), signals_as_before():
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL
