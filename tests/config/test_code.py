"""The code of `python` services in a config: its file, which users can change it, and what is wrong with it."""

import os
from pathlib import Path

import pytest

from netd.config import loader
from netd.config.code import describe, read
from netd.config.model import Config
from netd.config.problems import InvalidConfigError
from netd.errors import OperatorError
from tests.support.programs import need_root
from tests.support.users import ALEX, as_user

GREET = """
from netd.contract import Context
from netd.values import Model

class Greet:
    class Options(Model):
        greeting: str = "hello"
    def __init__(self, options: Options, context: Context) -> None:
        pass
    def datagram(self, data, peer):
        return data

def handle(request, client_address, server):
    pass
"""


def load(directory: Path, name: str, more: str = "", listen: str = "udp://127.0.0.1:0", **code: str) -> Config:
    """A config with a service of a class in greet.py."""
    (directory / "greet.py").write_text(code.get("code", GREET))
    (directory / "netd.yaml").write_text(
        f'services:\n  greet:\n    type: python\n    listen: ["{listen}"]\n'
        f'    options: {{class: "{directory}/{name}"{more}}}\n'
    )
    return loader.load(directory / "netd.yaml")


def problems(directory: Path, *arguments: str, **code: str) -> list[str]:
    with pytest.raises(InvalidConfigError) as raised:
        load(directory, *arguments, **code)
    return [str(one).replace(f"{directory}/", "") for one in raised.value.found]


def test_code_and_what_it_serves_are_in_the_config(open_path: Path) -> None:
    config = load(open_path, "greet.py:Greet", ", greeting: hi")
    [service] = config.services
    assert service.code
    assert (service.code.text, service.code.serving, service.code.datagrams) == (GREET, None, "answer")
    assert service.given == {"class": f"{open_path}/greet.py:Greet", "greeting": "hi"}
    assert config.notices == ()


def test_class_of_the_library_is_described_where_workers_may_not_read_it(open_path: Path) -> None:
    (open_path / "x.py").write_text(
        "import socketserver\nclass X(socketserver.StreamRequestHandler):\n    def handle(self):\n        pass\n"
    )
    assert describe(f"{open_path}/x.py:X").serving == "thread"


def test_function_is_served_in_threads_with_the_limits_of_those(open_path: Path) -> None:
    [service] = load(open_path, "greet.py:handle", listen="tcp://127.0.0.1:0").services
    assert (service.policy.limits.per_source, service.policy.limits.lifetime) == (8, 60)


def test_problem_of_the_code_is_told_at_its_line(open_path: Path) -> None:
    assert problems(open_path, "greet.py:Greet", code="import os\n1 / 0\n") == [
        "greet.py:2:1: services.greet.options.class: ZeroDivisionError: division by zero"
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("greet.py:Gret",), "5:22: services.greet.options.class: greet.py has no 'Gret'; did you mean 'Greet'?"),
        (("none.py:Greet",), "5:22: services.greet.options.class: none.py: No such file or directory"),
        ((":Greet",), "5:22: services.greet.options.class: : Is a directory"),
        (("greet.py:Greet", ", greting: x"), "unknown key; did you mean 'greeting'?"),
        (("greet.py:Greet", ", greeting: 3"), "services.greet.options.greeting: expected text, got 3"),
        (
            ("greet.py:Greet", "", "tcp://127.0.0.1:0"),
            "listen[0]: its options.class serves datagrams (udp, unixgram) only",
        ),
        (("greet.py",), "append ':' and the name of the class"),
    ],
)
def test_problem_of_the_options_is_told_in_the_config(
    open_path: Path, arguments: tuple[str, ...], problem: str
) -> None:
    [found] = problems(open_path, *arguments)
    assert problem in found


def test_service_without_a_class_is_a_problem(open_path: Path) -> None:
    (open_path / "netd.yaml").write_text("services: {greet: {type: python, listen: ['udp://127.0.0.1:0']}}")
    with pytest.raises(InvalidConfigError, match="the key 'class' is missing"):
        loader.load(open_path / "netd.yaml")


def test_missing_file_of_a_disabled_service_is_a_notice(open_path: Path) -> None:
    (open_path / "netd.yaml").write_text(
        f"services: {{greet: {{type: python, enabled: false, listen: ['udp://127.0.0.1:0'], "
        f"options: {{class: '{open_path}/none.py:X'}}}}}}"
    )
    config = loader.load(open_path / "netd.yaml")
    assert [one.message for one in config.notices] == [f"{open_path}/none.py: No such file or directory"]
    assert config.services[0].code is None


@pytest.mark.parametrize(
    ("mode", "directory_mode", "writer"),
    [
        (0o646, 0o755, "every user can write"),
        (0o664, 0o755, "group 0 can write"),
        (0o644, 0o777, "other users can replace"),
    ],
)
def test_file_that_others_can_change_is_refused_for_root_and_a_notice_for_others(
    open_path: Path, mode: int, directory_mode: int, writer: str
) -> None:
    need_root()
    code = open_path / "code"
    code.mkdir()
    load(code, "greet.py:Greet")
    (code / "greet.py").chmod(mode)
    code.chmod(directory_mode)
    [problem] = problems(code, "greet.py:Greet")
    assert problem.startswith(f"netd.yaml:5:22: services.greet.options.class: {writer} ")
    assert "; chmod go-w " in problem or "; have root own" in problem

    def load_as_alex() -> None:
        [notice] = loader.load(code / "netd.yaml").notices
        assert writer in notice.message

    as_user(ALEX, load_as_alex)


def test_file_of_another_user_is_refused(theirs: Path) -> None:
    load_from = theirs / "greet.py"
    load_from.write_text(GREET)
    os.chown(load_from, ALEX, ALEX)
    _, exposed = read(str(load_from))
    assert exposed == (
        f"{load_from} belongs to another user (uid {ALEX}), which can change it",
        f"chown root {load_from}",
    )


def test_file_that_is_too_long_or_no_text_is_refused(open_path: Path) -> None:
    file = open_path / "x.py"
    file.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(ValueError, match="it is longer than 1 MiB"):
        read(str(file))
    file.write_bytes(b"# \xff\n")
    with pytest.raises(ValueError, match="it is no text: "):
        read(str(file))
    file.write_bytes("# coding: latin-1\r\n# \xe9\r\n".encode("latin-1"))
    assert read(str(file)) == ("# coding: latin-1\n# \xe9\n", None)


def test_remedy_is_told_with_the_problem(open_path: Path) -> None:
    (open_path / "greet.py").write_text("\nimport no_such_module\n")
    with pytest.raises(OperatorError, match=r"greet\.py:2: ModuleNotFoundError: .*; install it for "):
        describe(f"{open_path}/greet.py:Greet")
