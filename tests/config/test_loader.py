"""The loader: all problems at once, each with its place, and the config of a valid file."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from netd import default_paths
from netd.admission.access_table import Ruling
from netd.admission.policy import RefusalLine
from netd.config import loader, source
from netd.config.model import Config
from netd.config.problems import InvalidConfigError
from netd.endpoints import Endpoint
from netd.errors import ConfigError
from netd.services import table

ROOT = Path(__file__).parents[2]


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "netd.yaml"
    file.write_text(text)
    return loader.load(file)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert raised.value.exit_code == 78
    return [problem.removeprefix(f"{tmp_path}/netd.yaml:") for problem in raised.value.problems]


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


def test_two_enabled_services_at_one_address_are_a_problem(tmp_path: Path) -> None:
    text = """\
services:
  echo: {listen: [tcp://*:7]}
  upper: {listen: ["udp://*:7", "tcp://[::1]:7"]}
  discard: {enabled: false, listen: [tcp://*:7]}
  pingpong: {listen: [unix:///x, unix:///x?mode=600]}
"""
    here = f"{tmp_path}/netd.yaml"
    assert problems(tmp_path, text) == [
        f"3:33: services.upper.listen[1]: tcp://[::1]:7 conflicts with tcp://*:7 of 'echo' in {here}:2",
        f"5:34: services.pingpong.listen[1]: unix:///x?mode=600 conflicts with unix:///x of 'pingpong' in {here}:5",
    ]


_PLACES = st.one_of(
    st.builds(
        "{}://{}:{}{}".format,
        st.sampled_from(["tcp", "udp"]),
        st.sampled_from(["*", "0.0.0.0", "[::]", "127.0.0.1", "[::1]", "host"]),
        st.sampled_from([0, 7, 9]),
        st.sampled_from(["", "?device=eth0", "?device=eth1"]),
    ),
    st.builds("{}://{}".format, st.sampled_from(["unix", "unixgram"]), st.sampled_from(["/x", "/y", "@x"])),
    st.sampled_from(["systemd://x", "systemd://y"]),
)


@pytest.mark.slow
@given(st.lists(_PLACES, min_size=1, max_size=12))
def test_addresses_conflict_as_if_each_was_compared_with_all_before(
    tmp_path_factory: pytest.TempPathFactory, urls: list[str]
) -> None:
    endpoints = [Endpoint.parse(url) for url in urls]
    taken = [number for number, one in enumerate(endpoints) if any(one.overlaps(other) for other in endpoints[:number])]
    file = tmp_path_factory.getbasetemp() / "places.yaml"
    file.write_text(f"services: {{echo: {{listen: {json.dumps(urls)}}}}}\n")
    reported = []
    try:
        loader.load(file)
    except ConfigError as error:
        reported = [int(number) for problem in error.problems for number in re.findall(r"listen\[(\d+)\]", problem)]
    assert reported == taken


def test_sections_with_all_lines_commented_out_are_empty(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "include:\ndaemon:\nlog:\nbans:\ndefaults:\n  access:\n  limits:\n"
        "services:\n  echo:\n    listen: [tcp://*:7]\n    access:\n    limits:\n    options:\n",
    )
    assert config.services[0].policy.limits.idle == 300.0
    assert load(tmp_path, "services:\n").services == ()
    assert load(tmp_path, "").services == ()


def test_value_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, "daemon: {drain: }\n") == [
        "1:17: daemon.drain: expected a duration such as 30s, 5m or 1h, got nothing"
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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("services:\necho:\n  listen: [tcp://*:7]\n", "2:1: echo: a service belongs below 'services:'; indent it"),
        ("mine: {type: echo, listen: [tcp://*:7]}\n", "1:1: mine: a service belongs below 'services:'; indent it"),
        ("daemon: {drain:30s}\n", "1:10: daemon.drain:30s: unknown key; a space is missing after 'drain:'"),
        (
            "daemon: {drain: 30}\n",
            "1:17: daemon.drain: expected a duration such as 30s, 5m or 1h, got 30; did you mean '30s'?",
        ),
        ("log: {level: INFO}\n", "did you mean 'info'?"),
        ("defaults: {limits: {datagram: 9000000}}\n", "expected at most 65535, got 9000000"),
        ("defaults: {limits: {connections: 010}}\n", "defaults.limits.connections: 010 is 8 in YAML 1.1"),
        ('services: {echo: {listen: [tcp://*:7], enabled: "no"}}\n', "got 'no'; write it without quotes"),
        ("services: {echo: {listen: ['unix:/y']}}\n", "did you mean 'unix:///y'?"),
        ("services: {echo: {listen: ['*:7007']}}\n", "did you mean 'tcp://*:7007'?"),
        ("services: {echo: {listen: ['tcp://::1:7007']}}\n", "did you mean 'tcp://[::1]:7007'?"),
    ],
)
def test_slip_is_reported_with_what_may_be_meant(tmp_path: Path, text: str, found: str) -> None:
    [problem] = problems(tmp_path, text)
    assert found in problem


def test_top_level_keys_for_anchors_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("x-y: [&p 9]\nservices:\n  discard: {listen: [tcp://*:9]}\n")
    text = "include: [more.yaml]\nx-common: &c {idle: 5m}\nservices:\n  echo: {listen: [tcp://*:7], limits: *c}\n"
    assert [service.policy.limits.idle for service in load(tmp_path, text).services] == [300.0, 300.0]
    assert problems(tmp_path, "xcommon: 1\n") == [
        "1:1: xcommon: unknown key; known: bans, daemon, defaults, include, log, services"
    ]


def test_problem_in_the_limits_does_not_hide_one_in_the_options(tmp_path: Path) -> None:
    text = """\
services:
  qotd: {listen: ["tcp://*:99999?backlgo=1&nodelay=maybe"], limits: {idle: soon}, options: {file: /proc/none}}
  quotes: {type: qotd, listen: [tcp://*:17], options: {quotes: [café]}}
"""
    port, option, switch, idle, file, quote = problems(tmp_path, text)
    assert port == "2:19: services.qotd.listen[0]: expected a port from 0 to 65535, got 99999"
    assert option == ("2:19: services.qotd.listen[0]: unknown socket option 'backlgo' for tcp; did you mean 'backlog'?")
    assert switch == "2:19: services.qotd.listen[0]: socket option nodelay: expected on or off, got 'maybe'"
    assert idle == "2:76: services.qotd.limits.idle: expected a duration such as 30s, 5m or 1h, got 'soon'"
    assert file == "2:92: services.qotd.options: file '/proc/none': No such file or directory"
    assert quote.startswith("3:65: services.quotes.options.quotes[0]: a quote may hold printable ASCII")


def test_problems_below_an_alias_have_their_path_and_the_place_of_the_alias(tmp_path: Path) -> None:
    text = "defaults:\n  limits: &l {idle: soon}\nservices:\n  echo: {listen: [tcp://*:7], limits: *l}\n"
    assert problems(tmp_path, text) == [
        "2:21: defaults.limits.idle: expected a duration such as 30s, 5m or 1h, got 'soon'",
        "4:39: services.echo.limits.idle: expected a duration such as 30s, 5m or 1h, got 'soon'",
    ]


def test_value_that_cannot_be_read_is_reported_once(tmp_path: Path) -> None:
    assert problems(tmp_path, 'daemon: {drain: !!int ""}\n') == ["1:17: daemon.drain: cannot be read as int"]


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
        (odd / "many" / f"{number}.yaml").write_text("")
    assert "more than 1000 files" in problems(odd, "include: [many/*]\n")[0]


def test_problems_above_a_bound_are_counted(tmp_path: Path) -> None:
    found = problems(tmp_path, "services:\n" + "".join(f"  s{n}: {{type: echo}}\n" for n in range(300)))
    assert len(found) == 101
    assert found[-1].endswith("and 200 more problems")


def test_transport_that_the_service_type_does_not_serve_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StreamOnly:
        def stream(self, peer: object) -> Any: ...

    class DatagramOnly:
        def datagram(self, data: bytes, peer: object) -> Any: ...

    monkeypatch.setitem(table.BUILT_IN, "s", StreamOnly)
    monkeypatch.setitem(table.BUILT_IN, "d", DatagramOnly)
    text = "services:\n  s: {listen: [tcp://*:1, udp://*:1]}\n  d: {listen: [udp://*:2, unix:///x]}\n"
    assert problems(tmp_path, text) == [
        "2:27: services.s.listen[1]: service type 's' serves streams (tcp, tls, unix) only",
        "3:27: services.d.listen[1]: service type 'd' serves datagrams (udp, unixgram) only",
    ]


def test_a_plugin_that_fails_to_build_is_a_problem_not_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self) -> None:
            raise ZeroDivisionError("oops")

        def stream(self, peer: object) -> Any: ...

    monkeypatch.setitem(table.BUILT_IN, "broken", Broken)
    assert problems(tmp_path, "services:\n  broken: {listen: [tcp://*:1]}\n") == [
        "2:11: services.broken.options: service type 'broken' cannot be built: ZeroDivisionError('oops')"
    ]


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


WORDS = st.sampled_from(
    [
        "services",
        "daemon",
        "log",
        "defaults",
        "include",
        "limits",
        "options",
        "echo",
        "time",
        "listen",
        "idle",
        "type",
        "enabled",
        "format",
        "tcp://*:7",
        "udp://[::1]:0?rcvbuf=1",
        "5m",
        "off",
        "%Q",
        "on",
        "~",
        "7",
        "-1",
        "*x",
        "&x",
    ]
)
VALUES = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(WORDS, inner, max_size=4).map(
            lambda d: "{" + ", ".join(f"{k}: {v}" for k, v in d.items()) + "}"
        ),
    ),
    max_leaves=12,
)


# Phrases of pydantic and of both parsers of PyYAML.
FOREIGN = re.compile(
    "nput should|pydantic|valid (string|integer|number|dictionary|list|tuple|boolean)|greater than|less than|"
    "while (scanning|parsing)|did not find|could not find|but (found|got) |found (character|unexpected|unknown|"
    "undefined|duplicate|incompatible)|block (mapping|end|collection)|flow (mapping|sequence|node)|simple key|"
    "not allowed (in|here)|<(stream|document|block)|Traceback"
)


def assert_own_words(error: ConfigError) -> None:
    assert isinstance(error, InvalidConfigError)
    for problem in error.found:
        # The part in quotes is the operator's.
        told = re.sub(r"'[^']*'|\"[^\"]*\"", "", f"{problem.message} {problem.hint}")
        assert not FOREIGN.search(told), problem
        assert "\n" not in str(problem)
        assert problem.mark.line or not problem.path, "a problem of a value has its line"


@given(st.dictionaries(st.sampled_from(["services", "daemon", "log", "defaults", "include"]), VALUES))
def test_no_config_does_worse_than_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, sections: dict[str, str]
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    file.write_text("".join(f"{name}: {value}\n" for name, value in sections.items()))
    try:
        loader.load(file)
    except ConfigError as error:
        assert all(problem.startswith(f"{file}:") for problem in error.problems)
        assert_own_words(error)


@given(st.data())
def test_mutated_config_does_no_worse_than_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    good = (ROOT / "config" / "netd.yaml").read_bytes().replace(b"\n  #", b"\n  ")
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=4))
    file = tmp_path_factory.getbasetemp() / "mutant.yaml"
    file.write_bytes(content)
    try:
        loader.load(file)
    except ConfigError as error:
        assert_own_words(error)


SLIPS = [
    "\t", " ", "  ", "\n", ":", ": ", "- ", "-", ",", "[", "]", "{", "}", "'", '"', "*", "&", "!", "%", "@", "`", "|",
    ">", "#", "?", "\\", "0", "010", "~", "off", "-1", "1e99", ".nan", ".inf", "9" * 40, "1h30m", "<<", "x" * 1100,
    "[::1]", "*:7", "---\n", "...", "é", "\x85", "!!int x", "&a", "*a", "tcp://", "{a: b}", "[c]", "''",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("parser", ["CSafeLoader", "SafeLoader"])
@given(data=st.data())
def test_slip_in_a_good_config_is_told_in_the_words_of_netd(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, parser: str
) -> None:
    full = re.sub(r"(?m)^(\s*)#(\w+: )", r"\1\2", (ROOT / "config" / "netd.yaml").read_text())
    lines = [line for line in full.splitlines(keepends=True) if not line.lstrip().startswith("#")]
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(lines) - 1))
        line = lines[number]
        # Most mistakes are at the edges of words.
        at = data.draw(st.sampled_from([match.start() for match in re.finditer(r"\b|(?=[^\w\s])|$", line)]))
        cut = data.draw(st.integers(0, 8))
        lines[number] = line[:at] + data.draw(st.sampled_from(SLIPS)) + line[at + cut :]
    file = tmp_path_factory.getbasetemp() / "slip.yaml"
    file.write_text("".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "_LOADER", getattr(yaml, parser))
        try:
            loader.load(file)
        except ConfigError as error:
            assert_own_words(error)


def test_admission_is_merged_key_by_key(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
bans: {threshold: 10/m, exempt: [10.0.0.0/8, local]}
defaults:
  access: {deny: [192.0.2.0/24], times: ["Mon-Fri 08:00-18:00"]}
  limits: {rate: off, exempt: []}
services:
  echo: {listen: [tcp://*:7], access: {allow: ["uid:root", 10.0.0.0/8], times: []}, limits: {total_rate: 5/s burst 9}}
  discard: {listen: [tcp://*:9], refuse: {line: go away}, reply_guard: false, amplify: [local]}
""",
    )
    access, other = (service.access.read() for service in config.services)
    # Names have been replaced by numbers.
    assert access.rules == {"allow": ["uid:0", "10.0.0.0/8"], "deny": ["192.0.2.0/24"], "times": []}
    assert access.unix_ruling(0, []) == Ruling(True, "access.allow: uid:root")
    assert [hours.text for hours in other.times] == ["Mon-Fri 08:00-18:00"]
    echo, discard = (service.policy for service in config.services)
    assert (echo.limits.rate, str(echo.limits.total_rate)) == (None, "5/s burst 9")
    assert (echo.limits.exempt, echo.refuse, echo.reply_guard) == ((), "close", True)
    assert (discard.refuse, discard.reply_guard) == (RefusalLine("go away"), False)
    assert [named.text for named in config.bans.exempt] == ["10.0.0.0/8", "local"]


def test_problems_of_admission_have_their_place(tmp_path: Path) -> None:
    text = """\
bans: {threshold: often, duration: 2h}
defaults:
  access: {allow: [10.0.0.1/8, "uid:nobody-at-all"]}
  limits: {rate: 50, exempt: [lan]}
services:
  echo:
    listen: [tcp://*:7]
    access: {deny: [uid:nobody-here, worldwide], tims: []}
    refuse: rest
    amplify: any
  time:
    listen: [tcp://*:37]
    access: {times: [always], allow: ["gid:no-such-group"]}
"""
    assert problems(tmp_path, text) == [
        "1:19: bans.threshold: expected a rate such as 50/s, or 50/s burst 100, or off, got 'often'",
        "3:20: defaults.access.allow[0]: '10.0.0.1/8' has host bits set; did you mean '10.0.0.0/8'?",
        (
            "4:18: defaults.limits.rate: "
            "expected a rate such as 50/s, or 50/s burst 100, or off, got 50; did you mean '50/s'?"
        ),
        "4:31: defaults.limits.exempt[0]: expected an address, a network such as 10.0.0.0/8, local or any, got 'lan'",
        (
            "8:38: services.echo.access.deny[1]: "
            "expected an address, a network such as 10.0.0.0/8, local, any, uid:NAME or gid:NAME, got 'worldwide'"
        ),
        "8:50: services.echo.access.tims: unknown key; did you mean 'times'?",
        (
            "9:13: services.echo.refuse: "
            "expected close, reset, or {line: TEXT} with one line of at most 512 characters, got 'rest'"
        ),
        "10:14: services.echo.amplify: expected a list, got 'any'; did you mean [any]?",
        (
            "13:22: services.time.access.times[0]: "
            "expected times such as 'Mon-Fri 08:00-18:00 Europe/Berlin', got 'always'"
        ),
    ]
    text = "services:\n  echo:\n    listen: [tcp://*:7]\n    access: {deny: [any, 'uid:nobody-here', 'gid:none']}\n"
    assert problems(tmp_path, text) == [
        "4:26: services.echo.access.deny[1]: there is no user 'nobody-here'",
        "4:45: services.echo.access.deny[2]: there is no group 'none'",
    ]


def test_load_is_a_number_above_0(tmp_path: Path) -> None:
    def written(value: str) -> str:
        return f"services: {{echo: {{listen: [tcp://*:7], load: {value}}}}}\n"

    found = [load(tmp_path, written(value)).services[0].policy.load for value in ("{below: 8}", "{below: 0.5}", "null")]
    assert [one and one.below for one in found] == [8.0, 0.5, None]
    for value in ("0", "-1", "high", "true", ".inf", ".nan", "100000"):
        [problem] = problems(tmp_path, written(f"{{below: {value}}}"))
        assert "services.echo.load.below: expected a load average such as 8.0, above 0 and below 100,000" in problem
    for value in ("8.0", "{}", "{above: 3}"):
        assert all("services.echo.load" in problem for problem in problems(tmp_path, written(value)))
        assert problems(tmp_path, written(value))


def test_accounts_are_looked_up_also_if_there_are_other_problems(tmp_path: Path) -> None:
    text = """\
defaults: {access: {deny: ["uid:nobody-one"]}, limits: {idle: x}}
services:
  echo: {listen: [tcp://*:7], access: {allow: ["uid:nobody-two"]}, limits: {idle: x}}
"""
    assert [problem.partition(": ")[2] for problem in problems(tmp_path, text)] == [
        "defaults.access.deny[0]: there is no user 'nobody-one'",
        "defaults.limits.idle: expected a duration such as 30s, 5m or 1h, got 'x'",
        "services.echo.access.allow[0]: there is no user 'nobody-two'",
        "services.echo.limits.idle: expected a duration such as 30s, 5m or 1h, got 'x'",
    ]


def test_gid_rule_is_refused_over_unixgram(tmp_path: Path) -> None:
    text = """\
defaults: {access: {deny: ["gid:root"]}}
services:
  echo: {listen: [tcp://*:7, "unixgram:///run/x", "unix:///run/y"]}
  fine: {type: echo, listen: ["unixgram:///run/z"], access: {deny: [uid:root]}}
"""
    assert problems(tmp_path, text) == [
        "3:30: services.echo.listen[1]: access has gid rules, which cannot hold for datagrams: use uid rules, or unix://"
    ]


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


def test_service_has_a_connection_log_of_its_own_and_metrics_is_quiet(tmp_path: Path) -> None:
    text = """\
services:
  metrics: {listen: [tcp://localhost:1]}
  loud: {type: metrics, listen: [tcp://localhost:2], log_connections: all}
  echo: {listen: [tcp://*:3]}
  some: {type: echo, listen: [tcp://*:4], log_connections: sample 100}
  none: {type: echo, listen: [tcp://*:5], log_connections: off}
"""
    assert [service.log_connections for service in load(tmp_path, text).services] == ["debug", "all", None, 100, "off"]
    assert "expected all, debug, summary, off" in problems(tmp_path, text.replace("sample 100", "some"))[0]


def test_endpoints_and_keys_of_the_daemon_know_their_place(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("services:\n  upper: {listen: [tcp://*:8]}\n")
    config = load(
        tmp_path,
        "include: [more.yaml]\ndaemon: {drain: 1s,\n  pid_file: /run/x}\nlog:\nservices:\n"
        "  echo: {listen: [tcp://*:7,\n    udp://*:7]}\n",
    )
    here = f"{tmp_path}/netd.yaml"
    assert config.places == {"daemon.drain": f"{here}:2:17", "daemon.pid_file": f"{here}:3:13"}
    echo, upper = ([endpoint.place for endpoint in service.listen] for service in config.services)
    assert (echo, upper) == ([f"{here}:6:19", f"{here}:7:5"], [f"{tmp_path}/more.yaml:2:20"])
    assert Endpoint.parse("tcp://*:7") == config.services[0].listen[0], "the place is no difference"


def test_log_file_in_a_directory_that_does_not_exist_is_a_problem(tmp_path: Path) -> None:
    assert load(tmp_path, f"log: {{file: {tmp_path}/log}}\n").log.file == f"{tmp_path}/log"
    for directory in (f"{tmp_path}/none", f"{tmp_path}/netd.yaml"):
        [problem] = problems(tmp_path, f"log: {{file: {directory}/log}}\n")
        assert problem.startswith(f"1:13: log.file: there is no directory {directory}; make it first")


def test_log_file_that_is_a_directory_is_a_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, f"log: {{file: {tmp_path}}}\n") == [
        f"1:13: log.file: {tmp_path} is a directory; name a file in it"
    ]
