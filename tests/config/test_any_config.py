"""No config, whatever it says, does worse than a config error in netd's own words."""

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from netd.config import loader, source
from netd.config.problems import InvalidConfigError
from netd.errors import ConfigError
from tests.source_tree import ROOT

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
