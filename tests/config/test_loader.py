"""The loader: all problems at once, each with its place, and the config of a valid file."""

import subprocess
import sys
from pathlib import Path

import pytest

from netd import default_paths
from netd.config import loader
from netd.errors import ConfigError
from netd.services import table
from tests.config.configs import load, problems

ROOT = Path(__file__).parents[2]


def test_config_is_loaded(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
daemon: {drain: 5s}
log: {level: debug, format: json}
defaults: {limits: {idle: 1m, connections: 10}}
services:
  echo: {listen: [tcp://*:7, udp://*:7], limits: {idle: off, line: 1KiB}}
  clock: {type: time, enabled: false, listen: [tcp://*:7], options: {timezone: Asia/Shanghai}}
""",
    )
    assert (config.daemon.drain, config.log.level, config.log.format) == (5.0, "debug", "json")
    echo, clock = config.services
    assert [service.name for service in config.enabled] == ["echo"]
    limits = echo.policy.limits
    assert (limits.idle, limits.connections, limits.line, limits.lifetime) == (None, 10, 1024, None)
    assert (clock.type, clock.policy.limits.idle, clock.options.model_dump()["timezone"]) == (
        "time",
        60.0,
        "Asia/Shanghai",
    )
    assert [str(endpoint) for endpoint in echo.listen] == ["tcp://*:7", "udp://*:7"]


def test_problems_are_found_all_at_once(tmp_path: Path) -> None:
    text = """\
demon: {drain: 2s}
daemon: {drain: soon}
log: {level: loud}
defaults:
  limits: {idel: 5m}
services:
  echo:
    listen: [tpc://*:7, tcp://*:7]
    limits: {idle: soon}
    enabled: maybe
  ecoh: {listen: [tcp://*:8]}
  lab: {type: echo, listen: ["tcp://127.0.0.1:7"], options: {x: 1}}
  time: {listen: [tcp://*:37], options: {format: "%Q", timezone: Mars}}
  daytime: {listen: tcp://*:13}
  discard:
  "-": {type: discard, listen: [tcp://*:9], limits: {connections: -1}}
  qotd: {listen: [tcp://*:17], options: {file: /proc/none}}
  number: 7
  typed: {type: 7, listen: [tcp://*:10]}
"""
    known = ", ".join(table.names())
    assert problems(tmp_path, text) == [
        "1:1: demon: unknown key; did you mean 'daemon'?",
        "2:17: daemon.drain: expected a duration such as 30s, 5m or 1h, got 'soon'",
        "3:14: log.level: expected 'debug', 'info', 'warning', 'error' or 'critical', got 'loud'",
        "5:12: defaults.limits.idel: unknown key; did you mean 'idle'?",
        "8:14: services.echo.listen[0]: unknown scheme 'tpc'; did you mean 'tcp'?",
        "9:20: services.echo.limits.idle: expected a duration such as 30s, 5m or 1h, got 'soon'",
        "10:14: services.echo.enabled: expected true or false, got 'maybe'",
        "11:3: services.ecoh: unknown service type 'ecoh'; did you mean 'echo'? (or set 'type:')",
        "12:62: services.lab.options.x: unknown key",
        "13:50: services.time.options.format: unknown directive '%Q'",
        "13:66: services.time.options.timezone: unknown time zone 'Mars': expected an IANA name such as Asia/Shanghai",
        (
            "14:21: services.daytime.listen: expected a list of URLs such as [tcp://*:7, udp://*:7], got 'tcp://*:13'"
            "; did you mean [tcp://*:13]?"
        ),
        "15:3: services.discard: the key 'listen' is missing",
        "16:3: services.-: expected 1 to 64 letters, digits, '_', '.' or '-', beginning with a letter or digit",
        "16:67: services.-.limits.connections: expected a number such as 64, or off, got -1; did you mean 'off'?",
        "17:41: services.qotd.options: file '/proc/none': No such file or directory",
        f"18:3: services.number: unknown service type 'number'; known: {known} (or set 'type:')",
        "18:11: services.number: expected a mapping, got 7",
        "19:17: services.typed.type: expected text, got 7",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("services: []\n", "1:11: services: expected a mapping of services by name, got []"),
        ("services: off\n", "1:11: services: expected a mapping of services by name, got false"),
        ("include: off\n", "1:10: include: expected a list of file names, got false"),
        (
            "services: {echo: {type: '', listen: [tcp://*:7]}}\n",
            "1:25: services.echo.type: unknown service type ''; known: ",
        ),
        ("services: [echo]\n", "1:11: services: expected a mapping of services by name, got ['echo']"),
        ("include: conf.d/*.yaml\n", "1:10: include: expected a list of file names, got 'conf.d/*.yaml'"),
        ("include: [7]\n", "1:10: include: expected a list of file names, got [7]"),
        ("log: yes\n", "1:6: log: expected a mapping, got true"),
        ("a: [\n", "1:4: this [ is not closed"),
    ],
)
def test_value_of_another_type_is_a_problem(tmp_path: Path, text: str, problem: str) -> None:
    [found] = problems(tmp_path, text)
    assert found.startswith(problem)


def test_top_level_keys_for_anchors_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("x-y: [&p 9]\nservices:\n  discard: {listen: [tcp://*:9]}\n")
    text = "include: [more.yaml]\nx-common: &c {idle: 5m}\nservices:\n  echo: {listen: [tcp://*:7], limits: *c}\n"
    assert [service.policy.limits.idle for service in load(tmp_path, text).services] == [300.0, 300.0]
    assert problems(tmp_path, "xcommon: 1\n") == [
        "1:1: xcommon: unknown key; known: bans, daemon, defaults, include, log, services"
    ]


@pytest.mark.slow  # large configs
def test_malicious_configs_are_refused_quickly(tmp_path: Path) -> None:
    # Each took minutes or gigabytes when all parts were compared with each other.
    many = ", ".join(f"tcp://127.{n >> 16}.{n >> 8 & 255}.{n & 255}:7" for n in range(10_000))
    for text, problem in (
        (f"services:\n  echo: {{listen: [{many}]}}\n", "more than 1000 addresses of one port"),
        (
            "services:\n" + "".join(f"  s{n}: {{type: x{n}, listen: [tcp://*:7]}}\n" for n in range(5000)),
            "unknown service",
        ),
        (f"services: [&a '{'x' * 500_000}', {', '.join(['*a'] * 20_000)}]\n", "octets, aliases expanded"),
        (f"services:\n  echo: {{listen: [{', '.join(['x' * 60] * 10_000)}]}}\n", "expected a URL"),
    ):
        assert problem in problems(tmp_path, text)[0]


def test_included_files_are_loaded_in_order(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "b.yaml").write_text("services:\n  echo: {listen: [tcp://*:7]}\n")
    (tmp_path / "conf.d" / "a.yaml").write_text("services:\n  upper: {listen: [tcp://*:8]}\n")
    (tmp_path / "conf.d" / "c.txt").write_text("nonsense")
    config = load(tmp_path, "include: [conf.d/*.yaml, none/*.yaml]\nservices:\n  discard: {listen: [tcp://*:9]}\n")
    assert [service.name for service in config.services] == ["discard", "upper", "echo"]


def test_problems_of_included_files_have_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "daemon: {drain: 1s}\nservices:\n  echo: {listen: [tcp://*:8]}\n  upper: {listen: [tcp://*:7]}\n"
    )
    (tmp_path / "b.yaml").write_text("\x00")
    text = "include: [a.yaml, b.yaml, c.yaml]\nservices:\n  echo: {listen: [tcp://*:7]}\n"
    main = f"{tmp_path}/netd.yaml"
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert list(raised.value.problems) == [
        f"{tmp_path}/a.yaml:1:1: daemon: an included file may contain 'services' only",
        f"{tmp_path}/a.yaml:3:3: services.echo: duplicate service, first in {main}:3",
        f"{tmp_path}/a.yaml:4:20: services.upper.listen[0]: tcp://*:7 conflicts with tcp://*:7 of 'echo' in {main}:3",
        f"{tmp_path}/b.yaml:1:1: invalid character '\\x00'",
        f"{main}:1:27: include[2]: '{tmp_path}/c.yaml': No such file or directory",
    ]


def test_included_directory_that_cannot_be_read_is_a_problem(open_path: Path) -> None:
    (open_path / "conf.d").mkdir()
    (open_path / "conf.d" / "a.yaml").write_text("services:\n  echo: {listen: [tcp://*:7]}\n")
    (open_path / "netd.yaml").write_text("include: [conf.d/*.yaml]\n")
    (open_path / "conf.d").chmod(0)
    script = (
        "import encodings.utf_8_sig, os, sys; sys.path[:0] = ['.']\n"
        "from netd.config import loader; from pathlib import Path\n"
        "os.getuid() or (os.setgid(65534), os.setuid(65534))\n"
        f"try: loader.load(Path({str(open_path / 'netd.yaml')!r}))\n"
        "except Exception as error: print(error)"
    )
    # As another user than root, without permissions there.
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    (open_path / "conf.d").chmod(0o755)
    assert done.stdout == f"{open_path}/netd.yaml:1:11: include[0]: '{open_path}/conf.d/*.yaml': Permission denied\n"


def test_directory_with_a_name_like_a_pattern_is_found(tmp_path: Path) -> None:
    odd = tmp_path / "a[b]*"
    odd.mkdir()
    (odd / "more.yaml").write_text("services:\n  echo: {listen: [tcp://*:7]}\n")
    assert [service.name for service in load(odd, "include: ['m*.yaml']\n").services] == ["echo"]
    assert "No such file" in problems(odd, "include: ['local[1].yaml']\n")[0]
    (odd / "c[1].d").mkdir()
    (odd / "c[1].d" / "x.yaml").write_text("services:\n  upper: {listen: [tcp://*:8]}\n")
    assert [service.name for service in load(odd, "include: ['c[1].d/*.yaml']\n").services] == ["upper"]
    assert "NUL" in problems(odd, 'include: ["a\\0*"]\n')[0]
    assert "nested" not in str(load(odd, "include: ['none/*.yaml']\n"))
    (odd / "many").mkdir()
    for number in range(1001):
        (odd / "many" / f"{number}.yaml").write_text("# none\n")
    assert "more than 1000 files" in problems(odd, "include: [many/*]\n")[0]


def test_shipped_configs_are_valid() -> None:
    assert [service.name for service in loader.load(ROOT / "config" / "netd.yaml").enabled] == ["echo"]
    assert len(loader.load(loader.BUILT_IN_FILE).enabled) == 9
    assert (ROOT / "config" / "dev.yaml").read_bytes() == loader.BUILT_IN_FILE.read_bytes()


def test_default_config_is_the_installed_one_or_the_built_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default_paths, "CONFIG_FILE", tmp_path / "netd.yaml")
    assert loader.default_file() == loader.BUILT_IN_FILE
    (tmp_path / "netd.yaml").symlink_to(tmp_path / "nowhere")
    assert loader.default_file() == tmp_path / "netd.yaml", (
        "a dangling link is an error, and does not select the built-in config"
    )
    (tmp_path / "netd.yaml").unlink()
    (tmp_path / "netd.yaml").write_text("")
    assert loader.default_file() == tmp_path / "netd.yaml"


def test_log_connections_takes_all_summary_off_or_a_sample(tmp_path: Path) -> None:
    for text, access in (
        ("all", "all"),
        ("debug", "debug"),
        ("off", "off"),
        ("summary", "summary"),
        ("sample 100", 100),
    ):
        config = load(tmp_path, f"log: {{connections: {text}}}\n")
        assert config.log.connections == access
        assert config.log.model_dump(mode="json")["connections"] == text
    assert problems(tmp_path, "log: {connections: sample 0}\n") == [
        "1:20: log.connections: expected all, debug, summary, off, or a sample such as 'sample 100', got 'sample 0'"
    ]
    assert problems(tmp_path, "log: {format: journal, file: /x}\n") == [
        "1:6: log: file and format: journal are mutually exclusive"
    ]


def test_log_file_in_a_directory_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    assert load(tmp_path, f"log: {{file: {tmp_path}/log}}\n").log.file == f"{tmp_path}/log"
    for directory in (f"{tmp_path}/none", f"{tmp_path}/netd.yaml"):
        [problem] = problems(tmp_path, f"log: {{file: {directory}/log}}\n")
        assert problem.startswith(f"1:13: log.file: there is no directory {directory}; make it first")


def test_log_file_that_is_a_directory_is_a_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, f"log: {{file: {tmp_path}}}\n") == [
        f"1:13: log.file: {tmp_path} is a directory; name a file in it"
    ]
