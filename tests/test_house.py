"""The rules of the house: levels, sizes, and documents that say what the code does."""

import ast
import configparser
import json
import re
from pathlib import Path

import pytest
import yaml

from netd.admission.access import AccessRules
from netd.admission.bans import BanRules
from netd.admission.limits import Limits
from netd.admission.policy import Policy
from netd.config.model import DaemonSection, DefaultsSection, FileSection, LogSection, ServiceSection
from netd.endpoints import SocketOptions
from netd.services import table

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "netd").rglob("*.py"))

LEVELS = {
    "errors": 0,
    "conversation": 0,
    "settings": 0,
    "endpoints": 0,
    "services": 1,
    "admission": 1,
    "telemetry": 1,
    "config": 2,
    "transport": 2,
    "daemon": 3,
    "client": 3,
    "cli": 4,
    "__main__": 5,
}


MODELS = (AccessRules, BanRules, DaemonSection, Limits, LogSection, Policy)


def room(file: Path) -> str:
    return file.relative_to(ROOT / "netd").parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """The rooms of netd that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: a relative import"
            names = [f"{node.module}.{alias.name}" if node.module == "netd" else node.module for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("netd.") and name != "netd.__version__"}
    return found


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.name != "__init__.py" or file.parent.name != "netd"], ids=str
)
def test_a_file_imports_from_its_own_level_or_below(file: Path) -> None:
    for other in imports(file):
        assert LEVELS[other] <= LEVELS[room(file)], f"{file} imports netd.{other}"


def test_the_test_of_levels_sees_something() -> None:
    assert imports(ROOT / "netd" / "daemon" / "worker.py") >= {"admission", "services", "telemetry", "transport"}


@pytest.mark.parametrize("path", ["services", "admission"])
def test_services_and_policy_perform_no_input_or_output(path: str) -> None:
    forbidden = {"socket", "select", "threading", "socketserver", "structlog", "asyncio", "subprocess", "time"}
    for file in (ROOT / "netd" / path).rglob("*.py"):
        tree = ast.parse(file.read_text())
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not modules & forbidden, file


def test_only_telemetry_knows_the_logger() -> None:
    for file in FILES:
        if room(file) != "telemetry":
            assert "structlog" not in file.read_text(), file


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_file_is_long_and_every_file_says_what_it_is(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text))


def test_every_test_file_has_its_place_in_the_tree() -> None:
    for file in (ROOT / "tests").rglob("*/test_*.py"):
        place = file.parent.relative_to(ROOT / "tests")
        assert (ROOT / "netd" / place).is_dir() or (ROOT / place).is_dir(), file


@pytest.mark.parametrize("model", [*(table.ServiceType(n, s).options for n, s in table.BUILT_IN.items()), *MODELS])
def test_every_option_says_what_it_means(model: type) -> None:
    for name, field in model.model_fields.items():  # type: ignore[attr-defined]
        if name not in ("access", "limits"):
            assert field.description, f"{model.__qualname__}.{name}"


@pytest.mark.parametrize("name", table.BUILT_IN)
def test_every_service_says_what_it_does(name: str) -> None:
    kind = table.ServiceType(name, table.BUILT_IN[name])
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
    assert set(ServiceSection.model_fields) - set(Policy.model_fields) == {"type", "enabled", "listen", "options"}


def test_every_event_is_snake_case_and_past_tense_and_stands_once() -> None:
    text = "".join((ROOT / "netd" / "telemetry" / f"{file}.py").read_text() for file in ("events", "daemon_events"))
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
