"""The rules of the house: levels, sizes, and documents that say what the code does."""

import ast
import configparser
import graphlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml

from netd import default_paths
from netd.admission.access import AccessRules
from netd.admission.bans import BanRules
from netd.admission.limits import Limits
from netd.admission.policy import Policy
from netd.config.model import DaemonSection, DefaultsSection, FileSection, LogSection, ServiceSection
from netd.endpoints import SocketOptions
from netd.services import table
from netd.services.service_type import ServiceType
from tests.support import nothing_left

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "netd").rglob("*.py"))

# As docs/architecture.md shows them, from the top: a room imports from those that come after it, and from no others.
LEVELS = (
    ("__main__",),
    ("cli",),
    ("daemon", "client"),
    ("config", "transport", "testing"),
    ("services", "admission", "telemetry"),
    ("shared",),
    (
        "endpoints",
        "peer_filter",
        "conversation",
        "values",
        "contract",
        "lines",
        "telnet",
        "peer",
        "addresses",
        "accounts",
        "default_paths",
        "text",
        "reasons",
        "paths",
        "errors",
    ),
)
ORDER = [room for level in LEVELS for room in level]

MODELS = (AccessRules, BanRules, DaemonSection, Limits, LogSection, Policy)


def room(file: Path) -> str:
    return file.relative_to(ROOT / "netd").parts[0].removesuffix(".py")


def modules(file: Path) -> set[str]:
    """What a file imports of netd, also for types alone: modules, or names in them, without ``netd.`` in front."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("netd.") for name in found if name.startswith("netd.")} - {"__version__"}


def imports(file: Path) -> set[str]:
    """The rooms of netd that a file imports from."""
    return {name.partition(".")[0] for name in modules(file)}


def package(name: str, root: Path) -> str:
    """The package that a module, or a name in one, belongs to: a directory, or a file beside the rooms."""
    parts = name.split(".")
    while len(parts) > 1 and not root.joinpath(*parts).is_dir():
        parts.pop()
    return ".".join(parts)


def packages(root: Path) -> dict[str, set[str]]:
    """All packages, and from which others each imports. One and those within it count as no others."""
    graph: dict[str, set[str]] = {}
    for file in root.rglob("*.py"):
        here = package(".".join(file.relative_to(root).with_suffix("").parts), root)
        others = {package(name, root) for name in modules(file)}
        graph.setdefault(here, set()).update(
            other for other in others if not f"{other}.".startswith(f"{here}.") and not here.startswith(f"{other}.")
        )
    return graph


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.name != "__init__.py" or file.parent.name != "netd"], ids=str
)
def test_a_file_imports_from_its_own_room_and_those_after_it(file: Path) -> None:
    for other in imports(file):
        assert ORDER.index(other) >= ORDER.index(room(file)), f"{file} imports netd.{other}"


def test_no_packages_import_each_other_in_a_circle() -> None:
    TopologicalSorter(packages(ROOT / "netd")).prepare()


def test_the_test_of_circles_sees_one(tmp_path: Path) -> None:
    for name, text in (
        ("a/one.py", "from netd.b.two import Two"),
        ("b/two.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from netd.c import Three"),
        ("c.py", "def f():\n    from netd.a import one"),
        ("a/within/one.py", "import netd.a.one, netd.b.two"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert packages(tmp_path) == {"a": {"b"}, "b": {"c"}, "c": {"a"}, "a.within": {"b"}}
    with pytest.raises(CycleError):
        TopologicalSorter(packages(tmp_path)).prepare()


def daemon_files(root: Path) -> dict[str, set[str]]:
    """Each file or directory in netd/daemon, and which others of them it imports."""
    found: dict[str, set[str]] = {}
    for file in (root / "daemon").rglob("*.py"):
        name = file.relative_to(root / "daemon").parts[0].removesuffix(".py")
        names = [name.split(".") for name in modules(file)]
        found.setdefault(name, set()).update(parts[1] for parts in names if parts[0] == "daemon" and len(parts) > 1)
    return found


def crossings(files: dict[str, set[str]]) -> list[str]:
    """The imports from one side of the privilege boundary to the other, and from what both use to either."""
    sides = {"supervisor", "worker"}
    forbidden = {name: sides - {name} for name in files if name != "start"}
    return sorted(f"{name} imports {other}" for name in forbidden for other in files[name] & forbidden[name])


def test_the_supervisor_and_the_worker_import_nothing_of_each_other() -> None:
    files = daemon_files(ROOT / "netd")
    assert files["start"] >= {"supervisor", "worker"}
    assert crossings(files) == []


def test_the_test_of_the_privilege_boundary_sees_each_crossing(tmp_path: Path) -> None:
    for name, text in (
        ("supervisor/spawn", "def f():\n    from netd.daemon.worker.worker import Worker"),
        (
            "supervisor/reload",
            "from netd.daemon.channel import Channel\nfrom netd.daemon.supervisor.state import State",
        ),
        ("worker/config", "from netd.daemon.supervisor import state"),
        ("channel", "import netd.daemon.worker.status_client"),
        ("messages/coding", "import netd.daemon.worker.worker"),
        (
            "start",
            "from netd.daemon.supervisor.supervisor import supervise\nfrom netd.daemon.worker.worker import work",
        ),
    ):
        file = tmp_path / "daemon" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert crossings(daemon_files(tmp_path)) == [
        "channel imports worker",
        "messages imports worker",
        "supervisor imports worker",
        "worker imports supervisor",
    ]


def test_the_picture_of_the_house_shows_the_order_of_its_rooms() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    # The lowest one is files alone, and goes on in the next line.
    levels = re.findall(r"(?m)^    (?:0  (?:.*\n)+?(?=\n)|\d  .*$)", text)
    assert [tuple(re.findall(r"(\w+)(?:/|\.py)", level)) for level in levels] == list(LEVELS[1:])


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ("stream", ["connection", "connections", "server"]),
        ("datagram", ["origins", "mmsg", "single", "senders", "server"]),
    ],
)
def test_files_of_a_transport_import_in_one_direction_also_for_their_types(room: str, expected: list[str]) -> None:
    prefix = f"netd.transport.{room}."
    graph = {}
    for file in (ROOT / "netd" / "transport" / room).glob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        graph[file.stem] = {str(node.module).removeprefix(prefix) for node in nodes if prefix in str(node.module)}
    order = list(graphlib.TopologicalSorter(graph).static_order())  # CycleError says which circle there is
    assert [name for name in order if name in expected] == expected


def test_the_test_of_levels_sees_something() -> None:
    assert imports(ROOT / "netd" / "daemon" / "worker" / "config.py") >= {
        "admission",
        "services",
        "telemetry",
        "transport",
    }


@pytest.mark.parametrize("path", ["services/**/*.py", "admission/**/*.py", "shared/**/*.py", "testing.py"])
def test_services_and_policy_perform_no_input_or_output(path: str) -> None:
    forbidden = {"socket", "select", "threading", "socketserver", "structlog", "asyncio", "subprocess", "time"}
    for file in (ROOT / "netd").glob(path):
        tree = ast.parse(file.read_text())
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not modules & forbidden, file


def test_only_telemetry_knows_the_logger() -> None:
    for file in FILES:
        if room(file) != "telemetry":
            assert "structlog" not in file.read_text(), file


def reads_by_name(text: str) -> list[str]:
    """Where a file looks by name for what a service class declares; `ServiceType` is what says it."""
    traits = (
        "reflects|discards_input|server_initiated|client_speaks_first|single_worker|take_over|truncate"
        "|handler|stream|datagram|rfc|counters|Options"
    )
    return re.findall(rf"""(?:get|has)attr\((?:[\w.]*service\b|[^()]*["'](?:{traits})["'])""", text)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_what_a_service_declares_is_read_in_one_place(file: Path) -> None:
    assert reads_by_name(file.read_text()) == []


def test_the_test_of_reading_by_name_sees_something() -> None:
    for text in ("getattr(service, name)", 'hasattr(found.service, "x")', 'getattr(one, "server_initiated", False)'):
        assert reads_by_name(f"x = {text}")
    assert not reads_by_name('x = getattr(self.socket, name), getattr(services, "x")')


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_file_is_long_and_every_file_says_what_it_is(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text))


def test_every_test_file_has_its_place_in_the_tree() -> None:
    for file in (ROOT / "tests").rglob("*/test_*.py"):
        place = file.parent.relative_to(ROOT / "tests")
        assert (ROOT / "netd" / place).is_dir() or (ROOT / place).is_dir(), file


def imported_tests(text: str) -> list[str]:
    """The test modules that a file imports from."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if re.match(r"tests\.(.*\.)?test_", name)]


def test_no_file_imports_from_a_test_module() -> None:
    for file in (ROOT / "tests").rglob("*.py"):
        assert imported_tests(file.read_text()) == [], f"{file}: what several tests need has a module of its own"


def test_the_test_of_imported_tests_sees_one() -> None:
    text = "from tests.cli.test_talk import write\nfrom tests import test_fuzz\nimport tests.cli.test_talk\n"
    assert imported_tests(text) == [
        "tests.cli.test_talk.write",
        "tests.test_fuzz",
        "tests.cli.test_talk",
    ]
    assert imported_tests("from tests.support import until\nfrom netd.testing import script\nimport pytest\n") == []


@pytest.mark.parametrize("model", [*(ServiceType.of(one).options for one in table.BUILT_IN.values()), *MODELS])
def test_every_option_says_what_it_means(model: type) -> None:
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        if name not in ("access", "limits"):
            assert field.description, f"{model.__qualname__}.{name}"


@pytest.mark.parametrize("name", table.BUILT_IN)
def test_service_type_is_in_the_file_or_package_of_its_name(name: str) -> None:
    assert table.BUILT_IN[name].__module__ == f"netd.services.{name}"


@pytest.mark.parametrize("name", table.BUILT_IN)
def test_every_service_says_what_it_does(name: str) -> None:
    kind = ServiceType.of(table.BUILT_IN[name], name)
    assert len(kind.summary) > 20
    assert kind.streams or kind.datagrams


def test_the_config_shows_every_key_with_its_default() -> None:
    text = (ROOT / "config" / "netd.yaml").read_text()
    # With every default that is commented out switched on, it says what is in force without them.
    full = yaml.safe_load(re.sub(r"(?m)^(\s*)#(\w+: )", r"\1\2", text))
    assert full.keys() == FileSection.model_fields.keys()
    for model, shown in (
        (DaemonSection, full["daemon"]),
        (LogSection, full["log"]),
        (BanRules, full["bans"]),
        (AccessRules, full["defaults"]["access"]),
        (Limits, full["defaults"]["limits"]),
    ):
        assert shown.keys() == model.model_fields.keys()
        assert model.model_validate_json(json.dumps(shown)) == model()
    assert full["defaults"].keys() == DefaultsSection.model_fields.keys()
    for key, field in Policy.model_fields.items():
        if key not in ("access", "limits"):
            assert f"#   {key}: {json.dumps(field.default).strip(chr(34))}" in text, key
    types = set()
    for name, entry in full["services"].items():
        kind = table.find(entry.get("type", name))
        assert kind
        types.add(kind.name)
        given = {key: value for key, value in (entry.get("options") or {}).items() if key not in ("encoding", "file")}
        read = kind.options.model_validate_json(json.dumps(given))
        for key in given:
            default = kind.options.model_fields[key].get_default(call_default_factory=True)
            assert getattr(read, key) == default, f"{name}.{key}"
        if kind.name != "time":
            assert (entry.get("options") or {}).keys() == kind.options.model_fields.keys(), name
    assert types == set(table.BUILT_IN), "a service type the config does not show"
    for option in SocketOptions.__dataclass_fields__:
        assert re.search(rf"\b{option}=", text), f"the socket option {option} is not explained"
    assert set(ServiceSection.model_fields) - set(Policy.model_fields) == {
        "access",
        "type",
        "enabled",
        "listen",
        "options",
    }


def test_every_event_is_snake_case_and_past_tense_and_stands_once() -> None:
    text = "".join(
        (ROOT / "netd" / "telemetry" / f"{file}.py").read_text() for file in ("service_events", "daemon_events")
    )
    names = re.findall(r'(?:self\._log\.\w+|log)\(\s*"(\w+)"', text)
    names += re.findall(r'"(?:warning|error)",\s*"(\w+)"', text)
    assert len(names) == len(set(names))
    assert set(names) >= {"connection_closed", "connection_refused", "datagrams_dropped", "listening", "netd_ready"}
    for name in names:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*_([a-z]+ed|lost)|listening|netd_ready", name), name


def test_every_dependency_has_its_line() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    text = (ROOT / "docs" / "dependencies.md").read_text()
    for section, key in (
        ("options", "install_requires"),
        ("options.extras_require", "plot"),
        ("options.extras_require", "dev"),
    ):
        for line in setup[section][key].split("\n"):
            if name := re.match(r"[\w-]+", line):
                assert f"| {name[0]} |" in text, name[0]


def test_the_picture_of_the_house_has_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for file in FILES:
        assert f"`{room(file)}" in text or room(file) in ("__init__", "__main__"), (
            f"{room(file)} is not in docs/architecture.md"
        )


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
    "tests/admission/test_control.py": (r"/run/netd.*", "words that a door is asked about"),
    "tests/cli/probe/test_command.py": (r".*:7", "refused before anything is sent, or in a network namespace"),
    "tests/cli/test_columns.py": (r"/etc/netd/netd\.yaml", "a word in an answer"),
    "tests/cli/test_commands.py": (r"tcp://\*:3?7|\S+:7090", "checked and not served, or in a network namespace"),
    "tests/cli/test_talk.py": (r"\S+:7", "refused before anything is sent, or of a name that does not exist"),
    "tests/cli/top/answers.py": (r"/etc/netd/netd\.yaml", "a word in an answer"),
    "tests/cli/top/test_view.py": (r"/etc/netd/netd\.yaml|/run/", "words in an answer"),
    "tests/client/probe/test_checks.py": (r"/run/it", "a word"),
    "tests/client/probe/test_probing.py": (r"udp://a\.\.b:7", "no name that could exist"),
    "tests/client/talk/test_link.py": (r"\w+://name:7", "a name that means what the test says"),
    "tests/config/test_loader.py": (r"/run/[xyz]|\w+://\S+", "checked and not served"),
    "tests/daemon/supervisor/test_workers.py": (r"tcp://\*:7", "in a network namespace"),
    "tests/daemon/test_daemonize.py": (
        r"tcp://(?:\*|192\.0\.2\.1):7",
        "a config that is refused, an address of no host",
    ),
    "tests/services/chat/test_chat.py": (r"/etc/passwd|/tmp/a", "words that are said"),
    "tests/services/metrics/test_http.py": (r"http://localhost:7090", "a word in a request"),
    "tests/services/test_table.py": (r".*:[1-7]", "checked and not served"),
    "tests/services/test_whoami.py": (r"/run/x", "a word"),
    "tests/telemetry/test_exposition.py": (r"/run/x\.sock|\w+://\S+:7", "words in an answer"),
    "tests/telemetry/statuses.py": (r"/run/x\.sock|\w+://\S+:7", "words in an answer"),
    "tests/telemetry/test_logs.py": (r"tcp://127\.0\.0\.1:7", "a word"),
    "tests/test_addresses.py": (r"/run/.*", "words"),
    "tests/test_endpoints.py": (r".*", "URLs that are read and not opened"),
    "tests/test_house.py": (r".*", "this list"),
    "tests/test_install.py": (r"/opt/netd-test\S*", "a word in what is staged elsewhere"),
    "tests/test_peer.py": (r"/run/", "a word"),
    "tests/test_peer_filter.py": (r"/run/.*", "words"),
    "tests/test_default_paths.py": (r"/run/netd", "the place that is asked for, and not used"),
    "tests/test_values.py": (r"/etc/.*", "names of time zones that are none"),
    "tests/test_tour.py": (r"/tmp/", "what the tour says, which is put into the test's place"),
    "tests/transport/datagram/test_reply_guard.py": (r".*:40{2,3}7", "in a network namespace"),
    "tests/transport/test_listen.py": (
        r"tcp://127\.0\.0\.1:7|tcp://no-?such\S*:7",
        "without the right to it; names that do not exist",
    ),
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


def test_what_a_test_leaves_behind_is_named_and_ended() -> None:
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
