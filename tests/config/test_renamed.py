"""Renamed keys: the old names mean the same, with a notice."""

from pathlib import Path

import pytest

from netd.config import loader, schema
from netd.config.loader import BUILT_IN_FILE
from netd.config.model import Config, FileSection
from netd.config.problems import InvalidConfigError, Problem
from netd.config.renamed import RENAMED
from netd.values import Model

OLD = """\
daemon:
  beat: 7s
log: {access: sample 9}
bans:
  after: 5/m
  first: 2m
  longest: 3m
"""
NEW = """\
daemon:
  heartbeat: 7s
log: {connections: sample 9}
bans:
  threshold: 5/m
  duration: 2m
  max_duration: 3m
"""
NOTICES = [
    "2:3: daemon.beat: deprecated key, renamed to daemon.heartbeat",
    "3:7: log.access: deprecated key, renamed to log.connections",
    "5:3: bans.after: deprecated key, renamed to bans.threshold",
    "6:3: bans.first: deprecated key, renamed to bans.duration",
    "7:3: bans.longest: deprecated key, renamed to bans.max_duration",
]


def load(tmp_path: Path, text: str) -> Config:
    (tmp_path / "netd.yaml").write_text(text)
    return loader.load(tmp_path / "netd.yaml")


def failure(tmp_path: Path, text: str) -> tuple[list[str], list[str]]:
    """The problems and the notices of a config."""
    with pytest.raises(InvalidConfigError) as raised:
        load(tmp_path, text)
    return bare(tmp_path, raised.value.found), bare(tmp_path, raised.value.notices)


def bare(tmp_path: Path, problems: tuple[Problem, ...]) -> list[str]:
    return [str(problem).removeprefix(f"{tmp_path}/netd.yaml:") for problem in problems]


def test_old_key_means_the_same_and_is_a_notice(tmp_path: Path) -> None:
    old, new = load(tmp_path, OLD), load(tmp_path, NEW)
    assert (old.daemon, old.log, old.bans) == (new.daemon, new.log, new.bans)
    assert old.daemon.heartbeat == 7.0
    assert bare(tmp_path, old.notices) == NOTICES
    assert new.notices == ()


def test_notices_are_reported_beside_problems(tmp_path: Path) -> None:
    problems, notices = failure(tmp_path, OLD + "x: 1\n")
    assert [problem.partition(" ")[0] for problem in problems] == ["8:1:"]
    assert notices == NOTICES


def test_problem_of_an_old_key_is_at_its_place(tmp_path: Path) -> None:
    problems, _ = failure(tmp_path, "log: {level: info, access: x}\ndaemon:\n  beat: !!float x\n  core: y\n")
    assert problems == [
        "1:28: log.connections: expected all, debug, summary, off, or a sample such as 'sample 100', got 'x'",
        "3:9: daemon.beat: cannot be read as float",
        "4:9: daemon.core: expected true or false, got 'y'; did you mean true?",
    ]


@pytest.mark.parametrize("keys", [("beat", "heartbeat"), ("heartbeat", "beat")])
def test_both_names_are_a_problem_at_the_second_one(tmp_path: Path, keys: tuple[str, str]) -> None:
    problems, notices = failure(tmp_path, f"daemon:\n  {keys[0]}: 5s\n  core: off\n  {keys[1]}: x\n")
    assert problems[0] == (
        f"4:3: daemon.{keys[1]}: duplicate key, first in line 2: 'beat' is the old name of 'heartbeat'"
    )
    assert notices == []


def test_old_key_is_known_behind_an_alias_and_in_a_section_that_is_none(tmp_path: Path) -> None:
    config = load(tmp_path, "daemon: &all {drain: 1s}\nbans:\nlog:\n  <<: {access: off}\n")
    assert config.log.connections == "off"
    assert bare(tmp_path, config.notices) == ["4:3: log.access: deprecated key, renamed to log.connections"]
    problems, notices = failure(tmp_path, "daemon: &one {beat: 1s}\nlog: *one\nbans: [beat]\n")
    assert problems == [
        "2:6: log.beat: unknown key; known: connections, facility, file, format, level",
        "3:7: bans: expected a mapping, got ['beat']",
    ]
    assert notices == ["1:15: daemon.beat: deprecated key, renamed to daemon.heartbeat"]
    config = load(tmp_path, "daemon: {<<: &one {beat: 1s}}\n")
    assert config.daemon.heartbeat == 1.0


def test_new_names_are_keys_and_old_ones_are_not() -> None:
    for section, keys in RENAMED.items():
        model = FileSection.model_fields[section].annotation
        assert isinstance(model, type)
        assert issubclass(model, Model)
        assert model.model_fields.keys() >= set(keys.values())
        assert not model.model_fields.keys() & keys.keys()


def test_schema_knows_an_old_key_as_deprecated() -> None:
    properties = schema.json_schema()["$defs"]["DaemonSection"]["properties"]
    assert properties["beat"] == {
        "anyOf": properties["heartbeat"]["anyOf"],
        "deprecated": True,
        "description": "Renamed to heartbeat.",
        "title": "Beat",
    }


def test_shipped_configs_have_no_old_key() -> None:
    for file in (Path(__file__).parents[2] / "config" / "netd.yaml", BUILT_IN_FILE):
        assert loader.load(file).notices == ()
