"""The structure of the code: levels of packages, the privilege boundary, sizes, a test file for each source file."""

import ast
import graphlib
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.source_tree import FILES, ROOT, modules

# As docs/architecture.md shows them, from the top: a room imports from those that come after it, and from no others.
LEVELS = (
    ("__main__",),
    ("cli",),
    ("daemon", "client", "importers"),
    ("config", "transport", "testing"),
    ("services", "admission", "telemetry"),
    ("shared", "tls"),
    (
        "endpoints",
        "peer_filter",
        "values",
        "lines",
        "contract",
        "telnet",
        "peer",
        "addresses",
        "accounts",
        "default_paths",
        "host_zone",
        "load_average",
        "notation",
        "docstrings",
        "text",
        "reasons",
        "paths",
        "privileges",
        "steps",
        "errors",
        "scheduling",
    ),
)
PARTS = ("netd", "config", "docs", "tests", "tools")
ORDER = [room for level in LEVELS for room in level]


def room(file: Path) -> str:
    return file.relative_to(ROOT / "netd").parts[0].removesuffix(".py")


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
    sides = {"supervisor", "worker", "launcher"}
    forbidden = {name: sides - {name} for name in files if name != "start"}
    return sorted(f"{name} imports {other}" for name in forbidden for other in files[name] & forbidden[name])


def test_the_supervisor_the_worker_and_the_launcher_import_nothing_of_each_other() -> None:
    files = daemon_files(ROOT / "netd")
    assert files["start"] >= {"supervisor", "worker", "launcher"}
    assert crossings(files) == []


def test_the_test_of_the_privilege_boundary_sees_each_crossing(tmp_path: Path) -> None:
    for name, text in (
        ("supervisor/spawn", "def f():\n    from netd.daemon.worker.worker import Worker"),
        (
            "supervisor/reload",
            "from netd.daemon.channel import Channel\nfrom netd.daemon.supervisor.state import State",
        ),
        ("worker/config", "from netd.daemon.supervisor import state"),
        ("worker/launchers", "from netd.daemon.launcher.programs import Running"),
        ("launcher/launcher", "from netd.daemon.supervisor.state import State\nimport netd.daemon.worker.faults"),
        ("supervisor/launchers", "from netd.daemon.launcher import spawn"),
        ("channel", "import netd.daemon.worker.status_client"),
        ("packets", "from netd.daemon.launcher import launcher"),
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
        "launcher imports supervisor",
        "launcher imports worker",
        "messages imports worker",
        "packets imports launcher",
        "supervisor imports launcher",
        "supervisor imports worker",
        "worker imports launcher",
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
        "reflects|discards_input|server_initiated|client_speaks_first|single_worker|polled|reads_ttl|listens|runs_program"
        "|take_over|truncate|handler|program|stream|datagram|rfc|counters|Options"
    )
    return re.findall(rf"""(?:get|has)attr\((?:[\w.]*service\b|[^()]*["'](?:{traits})["'])""", text)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_declarations_of_a_service_are_read_in_one_place(file: Path) -> None:
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


@pytest.mark.parametrize("directory", ["tests", "bench", "tools"])
def test_no_file_beside_netd_is_long(directory: str) -> None:
    lengths = {str(file): len(file.read_text().splitlines()) for file in (ROOT / directory).rglob("*.py")}
    assert [name for name, length in lengths.items() if length > 400 and "/build/" not in name] == []


@pytest.mark.parametrize("package", sorted({file.parent for file in FILES}), ids=str)
def test_docstring_of_a_package_names_each_of_its_files(package: Path) -> None:
    if package in (ROOT / "netd", ROOT / "netd" / "services", ROOT / "netd" / "cli"):
        return  # the architecture page and tables in the code (table.py, main.py) name those
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    names = {file.stem for file in package.glob("*.py")} - {"__init__"}
    assert {name for name in names if not re.search(rf"\b{name}\b", docstring)} == set()


def test_every_test_file_has_its_place_in_the_tree() -> None:
    for file in (ROOT / "tests").rglob("*/test_*.py"):
        place = file.parent.relative_to(ROOT / "tests")
        if place.name != "attack":  # it tries all of netd at once
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


def test_the_picture_of_the_house_has_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for file in FILES:
        assert f"`{room(file)}" in text or room(file) in ("__init__", "__main__"), (
            f"{room(file)} is not in docs/architecture.md"
        )


def unknown_names(text: str) -> list[str]:
    """The files and names between backquotes that there are not."""
    known = {str(file.relative_to(ROOT)) for part in PARTS for file in (ROOT / part).rglob("*")}
    words = set(re.findall(r"\w+", "\n".join(file.read_text() for file in FILES)))
    found = []
    for name in re.findall(r"`([\w./]+)`", text):
        if re.search(r"/|\.(?:py|md|yaml)$", name):
            exists = any(f"/{file}".endswith(f"/{name.rstrip('/')}") for file in known)
        else:
            exists = words.issuperset(re.findall(r"\w+", name))
        if not exists:
            found.append(name)
    return found


def test_files_and_names_on_the_architecture_page_exist() -> None:
    assert unknown_names((ROOT / "docs" / "architecture.md").read_text()) == []


def test_the_test_of_names_sees_one() -> None:
    text = "`transport/loop.py` `loops.py` `Loop.end_turn` `Loop.begin_no_turn` `stream/` `streams/` `limits.idle`"
    assert unknown_names(text) == ["loops.py", "Loop.begin_no_turn", "streams/"]


def has_behaviour(file: Path) -> bool:
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(ast.parse(file.read_text()))
    )


@pytest.mark.parametrize("file", [file for file in FILES if has_behaviour(file)], ids=str)
def test_source_file_with_behaviour_has_a_test_file_of_its_name(file: Path) -> None:
    place = file.relative_to(ROOT / "netd")
    name = place.parent.name if file.name == "__init__.py" else file.stem
    test = ROOT / "tests" / place.parent / f"test_{name}.py"
    assert test.is_file()
    assert re.search(r"(?m)^(?:async )?def test_", test.read_text()), f"{test} tests nothing"
