"""Service types from other packages, valid and broken ones, in a real distribution on the path."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODULE = '''
from enum import Enum
from netd.contract import Context
from netd.lines import Lines
from netd.values import Model

class Mood(Enum):
    calm = "calm"
    loud = "loud"

class Word(Model):
    name: str

class Reverse:
    """Sends each line back in reverse."""

    class Options(Model):
        prefix: str
        mood: Mood = Mood.calm
        words: tuple[str, ...] = ()
        more: tuple[Word, ...] = ()

    def __init__(self, options, context):
        if options.prefix == "bad":
            raise ValueError("a prefix that is bad\\nin two lines")
        self.options, self.limit = options, context.line_limit

    def stream(self, peer):
        lines = Lines(self.limit)
        while (line := (yield from lines.read())) is not None:
            yield self.options.prefix.encode() + line[::-1] + lines.terminator

class NotAService:
    """Has neither stream nor datagram."""

class WrongOptions(Reverse):
    Options = 7

class Thing:
    pass

class WrongOption(Reverse):
    class Options(Model):
        thing: Thing | None = None

class Misspelt(Reverse):
    reflect = True

class Both(Reverse):
    server_initiated = "yes"
    def handler(self, request, address, server): ...
'''
ENTRY_POINTS = """[netd.services]
reverse = netd_example:Reverse
missing = netd_example:Missing
nothing = netd_example:NotAService
wrong = netd_example:WrongOptions
option = netd_example:WrongOption
leaver = netd_leaver:Service
misspelt = netd_example:Misspelt
both = netd_example:Both
echo = netd_example:NotAService
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A directory with an installed distribution in it."""
    (tmp_path / "netd_example.py").write_text(MODULE)
    (tmp_path / "netd_leaver.py").write_text("raise SystemExit(0)\n")
    info = tmp_path / "netd_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: netd-example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return tmp_path


def run(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "netd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def check(package: Path, config: str) -> list[str]:
    file = package / "netd.yaml"
    file.write_text(config)
    done = run(package, "check", "-c", str(file))
    assert "Traceback" not in done.stderr
    assert done.returncode == (78 if done.stderr else 0)
    return [line.removeprefix(f"{file}:") for line in done.stderr.splitlines()]


@pytest.mark.slow  # processes
def test_a_service_of_another_package_is_configured_and_served_like_a_built_in_one(package: Path) -> None:
    assert (
        check(package, "services:\n  reverse: {listen: [tcp://*:7], options: {prefix: x, words: [a], mood: loud}}\n")
        == []
    )
    script = (
        "from netd.services import table\nfrom netd.testing import context, script\n"
        "kind = table.find('reverse'); reverse = kind.build(kind.options(prefix='> '), context())\n"
        "print(script(reverse).receives(b'abc\\n').output())"
    )
    environment = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "b'> cba\\n'\n"


@pytest.mark.slow  # processes
def test_service_type_of_another_package_is_described(package: Path) -> None:
    done = run(package, "services", "reverse")
    assert done.returncode == 0, done.stderr
    assert "prefix: (required)" in done.stdout
    [described] = json.loads(run(package, "services", "reverse", "--json").stdout)["types"]
    assert described["datagram"] is False


def test_service_types_that_cannot_be_used_are_reported_and_hide_no_other(package: Path) -> None:
    done = run(package, "services")
    assert done.returncode == 1
    assert "reverse" in done.stdout
    assert "Sends back whatever it receives." in done.stdout, "a built-in one was replaced"
    assert [line.partition(" (")[0] for line in done.stderr.splitlines()] == [
        "netd: service type 'both'",
        "netd: service type 'leaver'",
        "netd: service type 'missing'",
        "netd: service type 'misspelt'",
        "netd: service type 'nothing'",
        "netd: service type 'option'",
        "netd: service type 'wrong'",
    ]
    assert "'option' (netd_example:WrongOption) cannot be loaded: PydanticSchemaGenerationError" in done.stderr


@pytest.mark.slow
def test_problems_with_options_of_another_package_are_one_line_each(package: Path) -> None:
    config = """\
services:
  reverse: {listen: [tcp://*:1], options: {prefix: bad}}
  r2: {type: reverse, listen: [tcp://*:2], options: {mood: sad, more: [{nmae: x}]}}
  r3: {type: reverse, listen: [udp://*:3], options: {prefix: 7, words: x}}
  leaver: {listen: [tcp://*:4]}
  nothing: {listen: [tcp://*:5]}
  wrong: {listen: [tcp://*:6]}
"""
    found = check(package, config)
    assert found[0] == "2:43: services.reverse.options: a prefix that is bad in two lines"
    assert "3:53: services.r2.options: the key 'prefix' is missing" in [line.replace("3:44", "3:53") for line in found]
    assert any(line.startswith("3:60: services.r2.options.mood: ") for line in found)
    assert any("services.r2.options.more[0].nmae: unknown key; did you mean 'name'?" in line for line in found)
    assert any(
        "services.r3.listen[0]: service type 'reverse' serves streams (tcp, tls, unix) only" in line for line in found
    )
    assert any("services.r3.options.prefix: expected text, got 7" in line for line in found)
    assert any("services.r3.options.words: expected a list, got 'x'" in line for line in found)
    assert any(
        "services.leaver: service type 'leaver' (netd_leaver:Service) cannot be loaded" in line for line in found
    )
    assert any("is not a class with stream, datagram, handler or program" in line for line in found)
    assert any("its Options are not a netd.values.Model" in line for line in found)


BOTH = (
    "service type 'both' (netd_example:Both): 'server_initiated' has to be True or False, and is 'yes'; "
    "it has both 'stream' and 'handler': a connection is served by one of them"
)
MISSPELT = (
    "service type 'misspelt' (netd_example:Misspelt): 'reflect' means nothing to netd; did you mean 'reflects'? "
    "(else begin it with '_')"
)


def test_invalid_declaration_is_reported_with_the_place_of_the_service(package: Path) -> None:
    config = "services:\n  both: {listen: [tcp://*:1]}\n  loud: {type: misspelt, listen: [tcp://*:2]}\n"
    assert check(package, config) == [f"2:3: services.both: {BOTH}", f"3:16: services.loud.type: {MISSPELT}"]


@pytest.mark.slow  # processes
def test_invalid_declaration_is_reported_in_the_list_of_types(package: Path) -> None:
    done = run(package, "services")
    assert f"netd: {BOTH}" in done.stderr.splitlines()
    assert f"netd: {MISSPELT}" in done.stderr.splitlines()
    assert "reverse" in done.stdout
    one = run(package, "services", "misspelt")
    assert (one.returncode, one.stdout, one.stderr) == (1, "", f"netd: {MISSPELT}\n")


@pytest.mark.slow
def test_types_that_cannot_be_used_are_not_suggested(package: Path) -> None:
    [line] = check(package, "services:\n  zzz: {listen: [tcp://*:7]}\n")
    known = line.partition("known: ")[2].partition(" (")[0].split(", ")
    assert "reverse" in known
    assert not {"missing", "nothing", "wrong", "leaver", "misspelt", "both"} & set(known)


def test_package_that_is_installed_later_is_found_and_a_changed_one_is_outdated(
    package: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    script = f"""
import pathlib, site
from netd.services import table
site.getsitepackages = lambda: [{str(package)!r}]
assert table.find("reverse") is None
assert table.find_again("reverse").name == "reverse", "by a .pth file, as pip install -e writes it"
assert not table.is_outdated("reverse")
assert not table.is_outdated("echo")
source = pathlib.Path({str(package)!r}, "netd_example.py")
source.write_text(source.read_text() + "#")
assert table.is_outdated("reverse")
source.unlink()
assert table.is_outdated("reverse")
"""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for file in package.glob("*.dist-info"):
        file.rename(elsewhere / file.name)
    (package / "example.pth").write_text(f"{elsewhere}\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
