"""Banners of services: their octets, and problems of a config."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from netd.admission.banner import LONGEST, Banners
from netd.config import loader
from netd.config.problems import InvalidConfigError, Problem

TCP = "type: echo, listen: ['tcp://*:7'], "


def loaded(directory: Path, service: str) -> tuple[Banners | None, list[str], list[str]]:
    """The banners of a service, its problems and its notices."""
    file = directory / "netd.yaml"
    file.write_text(f"services:\n  x: {{{service}}}\n")
    try:
        config = loader.load(file)
        return config.services[0].banners, [], _texts(config.notices)
    except InvalidConfigError as error:
        return None, _texts(error.found), _texts(error.notices)


def _texts(found: Iterable[Problem]) -> list[str]:
    return [str(one).partition("services.x")[2] for one in found]


def test_file_is_sent_as_it_is_and_a_text_by_lines(tmp_path: Path) -> None:
    (tmp_path / "motd").write_bytes(octets := bytes(range(256)))
    given = f"banner: {{always: one, accepted: {{file: {tmp_path}/motd}}, refused: 'two\\nthree'}}"
    assert loaded(tmp_path, TCP + given) == (Banners(b"one\r\n" + octets, b"one\r\ntwo\\nthree\r\n"), [], [])
    given = f"banner: {{file: {tmp_path}/motd}}"
    assert loaded(tmp_path, TCP + given) == (Banners(octets, octets), [], [])
    assert loaded(tmp_path, TCP.removesuffix(", ")) == (Banners(), [], [])


def test_peer_that_is_reset_gets_no_banner(tmp_path: Path) -> None:
    assert loaded(tmp_path, TCP + "refuse: reset, banner: hi") == (Banners(b"hi\r\n", b""), [], [])
    _, problems, _ = loaded(tmp_path, TCP + "refuse: reset, banner: {refused: hi}")
    assert problems == [
        ".banner.refused: refuse: reset discards what was sent before; leave it out, or set refuse: close"
    ]


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        (TCP + "banner: {file: /nonexistent}", ".banner.always: /nonexistent: No such file or directory"),
        (TCP + "banner: {refused: {file: /dev/null}}", ".banner.refused: /dev/null: it is no regular file"),
        (TCP + "banner: {file: %s/long}", f".banner.always: %s/long: it is longer than {LONGEST} octets"),
        (TCP + "banner: {acepted: hi}", ".banner.acepted: unknown key; did you mean 'accepted'?"),
        (TCP + "banner: 220", ".banner: expected a text, {file: PATH}, or always, accepted, refused, got 220"),
        (
            "type: echo, listen: ['udp://*:7', 'unixgram:///run/x'], banner: hi",
            ".banner: no endpoint of the service has connections: a banner is for streams",
        ),
        (
            "type: exec, listen: ['tcp://*:7'], options: {command: [/bin/true], mode: listener}, banner: hi",
            ".banner: mode: listener: the program accepts by itself, so netd sends no banner",
        ),
    ],
)
def test_mistake_is_a_problem_at_its_place(tmp_path: Path, service: str, problem: str) -> None:
    (tmp_path / "long").write_bytes(bytes(LONGEST + 1))
    _, problems, _ = loaded(tmp_path, service.replace("%s", str(tmp_path)))
    assert problem.replace("%s", str(tmp_path)) in problems


def test_file_that_another_user_can_have_put_there_is_not_read(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("another user's file takes root")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "motd").symlink_to(tmp_path / "netd.yaml")
    os.chown(shared / "motd", 65534, 65534, follow_symlinks=False)
    _, problems, _ = loaded(tmp_path, TCP + f"banner: {{file: {shared}/motd}}")
    assert "symbolic link that another user made" in problems[0]


def test_file_of_a_disabled_service_may_be_missing(tmp_path: Path) -> None:
    _, problems, notices = loaded(tmp_path, TCP + "enabled: false, banner: {file: /nonexistent}")
    assert (problems, notices) == ([], [".banner.always: /nonexistent: No such file or directory"])
