"""`netd config`: what is in force, as a config that means the same; and the commented config, also of a package."""

import configparser
import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from netd.config import loader
from netd.config.loader import EXAMPLE_FILE
from netd.config.model import Config
from netd.config.problems import InvalidConfigError
from netd.errors import UsageError
from tests.cli.commands import netd_process, run
from tests.source_tree import ROOT
from tests.support.certificates import Authority
from tests.support.daemon import Daemon, daemon

ODD = """
include: [conf.d/*.yaml]
x-strict: &strict {idle: 60s, rate: tcp 1/m}
daemon: {workers: auto, beat: 1500ms, control: off, user: 65534}
log: {connections: sample 7}
bans: {after: off, exempt: [any, 10.0.0.0/8]}
defaults:
  access: {allow: [any], times: ["Mon-Fri 08:00-18:00 Europe/Berlin"]}
  limits: {idle: off, exempt: []}
  tls: {certificate: $/server.pem, key: $/server.key}
services:
  echo: {listen: ["tcp://127.0.0.1:0?backlog=7", "unix://$/e?mode=0600"], limits: *strict, refuse: {line: "4 'no': #1"}}
  "true": {type: discard, enabled: false, listen: [systemd://x], limits: {<<: *strict, bytes: 1GiB}}
  cat: {type: exec, listen: [tcp://127.0.0.1:0], options: {command: [/bin/cat, "", "-", "null", "\\e"], umask: 022}}
  secure: {type: exec, listen: [tls://127.0.0.1:0], options: {command: [/bin/cat], user: root}, banner: "hello\\r\\n"}
  own: {type: upper, listen: [tls://127.0.0.1:0], tls: {certificate: [$/other.pem], key: [$/other.key], alpn: [h2]}}
  qotd: {listen: [udp://127.0.0.1:0], options: {quotes: ["a: b", "- c", "x\\ny"]}}
  many: {type: chat, listen: [udp://127.0.0.1:0], access: {deny: [MANY]}}
"""


def same(one: Config, other: Config) -> None:
    """Check that two configs are equal, but for the place of each key."""
    for section in ("daemon", "log", "bans"):
        assert getattr(one, section) == getattr(other, section)
    for was, now in zip(one.services, other.services, strict=True):
        for key in ("name", "type", "enabled", "listen", "policy", "log_connections", "options"):
            assert getattr(was, key) == getattr(now, key), f"{was.name}: {key}"
        assert was.access.digest == now.access.digest, was.name


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "netd.yaml"
    file.write_text(text)
    return file


def shown_again(file: Path, tmp_path: Path, *options: str) -> Config:
    code, output = run("config", "-c", str(file), *options)
    assert code == 0
    (tmp_path / "shown.yaml").write_text(output)
    return loader.load(tmp_path / "shown.yaml")


@pytest.mark.parametrize("options", [(), ("--defaults",)], ids=["given", "all"])
def test_output_is_a_config_that_means_the_same(tmp_path: Path, options: tuple[str, ...]) -> None:
    authority = Authority(tmp_path)
    authority.issue("server")
    authority.issue("other")
    many = ", ".join(f"10.0.{number // 256}.{number % 256}" for number in range(1500))
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.yaml").write_text("services: {a: {type: echo, listen: [tcp://127.0.0.1:0]}}\n")
    file = written(tmp_path, ODD.replace("$", str(tmp_path)).replace("MANY", many))
    same(loader.load(file), shown_again(file, tmp_path, *options))


@pytest.mark.parametrize("options", [(), ("--defaults",)], ids=["given", "all"])
def test_configs_of_netd_and_of_imports_mean_the_same_as_what_is_shown_of_them(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    number = 0
    for file in [*(ROOT / "config").glob("*.yaml"), *(ROOT / "tests" / "importers" / "samples").glob("*.yaml")]:
        try:
            config = loader.load(file)
        except InvalidConfigError:  # for a program or an account that this host does not have
            continue
        same(config, shown_again(file, tmp_path, *options))
        number += 1
    assert number > 10


SMALL = """\
log: {level: info}
defaults:
  limits: {idle: 2m}
services:
  echo:
    listen: [tcp://127.0.0.1:0]
    access:
      allow: [any]
      deny:
        - 192.0.2.1
        - 192.0.2.2
  off: {type: echo, enabled: false, listen: [tcp://127.0.0.1:0]}
"""


def test_line_ends_with_where_the_value_came_from(tmp_path: Path) -> None:
    file = written(tmp_path, SMALL)
    code, output = run("config", "-c", str(file), "--defaults", "echo")
    assert code == 0
    for line in (
        f"# {file}",
        f"    listen: [tcp://127.0.0.1:0]  # {file}:6",
        f"      allow: [any]  # {file}:8",
        f"        - 192.0.2.2  # {file}:11",
        f"      #idle: 2m  # defaults, {file}:3",
        "      #per_source: 64  # default",
        "    #type: echo  # default",
    ):
        assert line in output.splitlines()
    assert "  off:" not in output.splitlines()


def test_service_that_there_is_not_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no service 'ehco'; did you mean 'echo'?"):
        run("config", "-c", str(written(tmp_path, SMALL)), "ehco")


def test_config_with_problems_is_not_shown(tmp_path: Path) -> None:
    done = netd_process("config", "-c", str(written(tmp_path, "services: 7\n")))
    assert (done.returncode, done.stdout) == (78, "")
    assert "expected a mapping of services" in done.stderr


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Daemon]:
    with daemon(SMALL, tmp_path) as process:
        yield process


@pytest.mark.slow  # processes
def test_running_netd_shows_what_is_in_force(running: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    assert running.netd("disable", "echo").returncode == 0
    assert running.netd("log-level", "debug").returncode == 0
    file.write_text("# Two lines\n# more.\n" + SMALL.replace("2m", "3m").replace("any", "local"))
    before = running.netd("config")
    assert (before.returncode, before.stderr) == (0, "")
    lines = before.stdout.splitlines()
    assert lines[0] == f"# in force in netd (pid {running.process.pid}): generation 1 of {file}"
    assert "  level: debug  # netd log-level" in lines
    assert "    enabled: false  # netd disable" in lines
    assert f"      #idle: 2m  # defaults, {file}:3" in lines
    assert running.netd("reload").returncode == 0
    lines = running.netd("config").stdout.splitlines()
    assert lines[0].endswith(f"generation 2 of {file}")
    assert f"  level: info  # {file}:3" in lines
    assert f"      #idle: 3m  # defaults, {file}:5" in lines
    assert f"      allow: [local]  # {file}:10" in lines
    answer = json.loads(running.netd("config", "--json", "off").stdout)
    assert {
        "path": ["services", "off", "enabled"],
        "value": False,
        "origin": "file",
        "file": str(file),
        "line": 14,
    } in (answer["values"])
    assert running.netd("config", "nothing").returncode == 64


@pytest.mark.slow  # processes
def test_without_a_running_netd_it_cannot_be_asked() -> None:
    assert netd_process("config").returncode == 69


@pytest.mark.slow  # processes
def test_example_is_the_commented_config_and_can_be_used(tmp_path: Path) -> None:
    done = netd_process("config", "--example")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "config" / "netd.yaml").read_text()
    (tmp_path / "netd.yaml").write_text(done.stdout)
    assert netd_process("check", "-c", str(tmp_path / "netd.yaml")).returncode == 0


def test_example_is_in_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert EXAMPLE_FILE.parent == ROOT / "netd" / "config"
    assert fnmatch(EXAMPLE_FILE.name, setup["options.package_data"]["netd.config"])


def test_example_is_of_no_service() -> None:
    with pytest.raises(UsageError, match="--example takes no service"):
        run("config", "--example", "echo")
