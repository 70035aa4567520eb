"""What a child process says of code: its kind, its options, and its problems; and code that is hostile."""

import os
import re
import sys
from typing import Any

import pytest

from netd.config import code_child
from netd.config.code_child import CodeAnswer, CodeProblem, ask
from netd.errors import OperatorError
from netd.privileges import RunAs
from netd.services.python.options import PythonOptions
from tests.support.programs import need_root
from tests.support.users import ALEX

HERE = "/none/x.py"
OTHERS = "import os\nfor n in (n for n in range(3, 999) if os.path.exists(f'/proc/self/fd/{n}')):\n"
SIZED = """
from netd.errors import InvalidValueError
from netd.values import Model, Size
class X:
    '''Sizes.'''
    class Options(Model):
        size: Size = 65536
        '''How much.'''
        word: str
    def __init__(self, options, context):
        if options.word == "no":
            raise InvalidValueError("no word", "say yes")
        self.limit = context.line_limit
    def stream(self, peer):
        yield b""
"""


def asked(text: str, place: str = HERE, run_as: RunAs | None = None, **own: Any) -> CodeAnswer:
    options = PythonOptions.model_validate({"class": f"{place}:X", **own})
    return ask(options, text, 99, run_as or RunAs("me"))


def problem(text: str, **own: Any) -> CodeProblem:
    [found] = asked(text, **own).problems
    return found


def test_kind_and_options_of_a_class_are_told() -> None:
    answer = asked(SIZED, word="x")
    assert (answer.serving, answer.datagrams, answer.polled, answer.summary) == ("conversation", None, False, "Sizes.")
    assert answer.problems == ()
    assert answer.options["size"]["default"] == "64KiB"
    assert answer.options["size"]["description"] == "How much."
    assert "default" not in answer.options["word"]


def test_class_of_a_module_is_told() -> None:
    options = PythonOptions.model_validate({"class": "netd.services.metrics:Metrics"})
    answer = ask(options, "", 99, RunAs("me"))
    assert (answer.serving, answer.polled, answer.problems) == ("thread", True, ())


MODEL = "from netd.values import Model\nclass X: pass\nclass Y(Model):\n"
WITH = "class X:\n    Options = Y\n    def stream(self, peer): yield\n"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, CodeProblem(message="the option 'word' of 'X' is missing")),
        ({"word": "x", "sise": 3}, CodeProblem(where=("sise",), message="unknown key", hint="did you mean 'size'?")),
        ({"word": 3}, CodeProblem(where=("word",), message="expected text, got 3")),
        ({"word": "no"}, CodeProblem(message="no word", hint="say yes")),
    ],
)
def test_options_that_the_class_does_not_take_are_told(own: dict[str, object], expected: CodeProblem) -> None:
    assert problem(SIZED, **own) == expected


def test_class_without_options_takes_none() -> None:
    found = problem("class X:\n    def datagram(self, data, peer): pass\n", greeting="hi")
    assert (found.where, found.message) == (("greeting",), "'X' has no options")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = 1\ndef f(:\n", 2, "SyntaxError: "),
        ("x = 1\n  y = 2\n", 2, "IndentationError: unexpected indent"),
        ("def f():\n    return 1 / 0\n\nf()\n", 2, "ZeroDivisionError: division by zero"),
        ("import netd_none\n", 1, "ModuleNotFoundError: No module named 'netd_none'"),
        ("raise SystemExit\n", 1, "SystemExit"),
        ("raise KeyboardInterrupt('x' * 9999)\n", 1, "KeyboardInterrupt: xxx"),
        ("class Y: pass\n", 0, f"{HERE} has no 'X'; known: Y"),
        ("class X: pass\n", 0, "it has neither stream nor datagram"),
        (
            "class X:\n    def __init__(self): open('/none/file')\n    def stream(self, peer): yield\n",
            2,
            "FileNotFound",
        ),
        (
            "class X:\n    def __new__(cls, one): pass\n    def stream(self, peer): yield\n",
            1,
            "TypeError: X.__new__() missing 1 required positional argument: 'one'",
        ),
        (
            "class X:\n    def __init__(self, one): pass\n    def stream(self, peer): yield\n",
            1,
            "TypeError: X.__init__() missing 1 required positional argument: 'one'; netd passes nothing to a class",
        ),
        (
            f"{MODEL}    size: int = 1\n{WITH}    def __init__(self, options): pass\n",
            2,
            "TypeError: X.__init__() takes 2 positional arguments but 3 were given; netd passes (options, context)",
        ),
        (f"{MODEL}    size: int = 1\n{WITH}    def __init__(self, options, context): len(3)\n", 8, "TypeError: object"),
        (f"{MODEL}    odd: 'Z' = 3\n{WITH}", 3, "PydanticUserError: `Y` is not fully defined"),
        (f"{MODEL}    odd: X = 3\n{WITH}", 3, "PydanticSchemaGenerationError: Unable to"),
        (f"{MODEL}    call: type(print) = print\n{WITH}", 3, "PydanticSchemaGenerationError: Unable to"),
        (f"{MODEL}    call: __import__('typing').Callable = abs\n{WITH}", 3, "PydanticInvalidForJsonSchema: Cannot"),
        (
            f"{MODEL}    size: int = 1\n{WITH}    def __init__(self, options, context): Y(size='x')\n",
            8,
            "ValidationError: 1 validation error for Y",
        ),
    ],
)
def test_error_of_the_code_has_its_line(text: str, line: int, message: str) -> None:
    found = problem(text)
    assert found.line == line
    assert found.message.startswith(message)


def test_missing_module_has_a_hint_at_the_remedy(open_path: Any) -> None:
    assert problem("import netd_none").hint == f"install it for {sys.executable}, which runs netd"
    (open_path / "helper.py").touch()
    [found] = asked("import helper", f"{open_path}/x.py").problems
    assert found.hint.startswith("a file is served alone: make a package of several")


def test_library_that_a_worker_may_not_read_is_told() -> None:
    """As ModuleNotFoundError, since Python does not tell a directory without permission from none."""
    found = problem("raise ModuleNotFoundError('No module named wave', name='wave')")
    assert re.fullmatch(
        rf"user {os.geteuid()} cannot read Python's library in (/.+); make (/.+) one that it can enter .*", found.hint
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import os; os._exit(0)", "its import ended the process"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its import ended the process"),
        (f"{OTHERS}    os.write(n, b'{{}}x')\n", "its import gave no"),
        (f"{OTHERS}    while os.write(n, b'x' * 9999): pass\n", "its import gave no"),
        ("class X:\n    stream = print\n    __doc__ = 'x' * 10**7\n", ""),
    ],
)
def test_code_that_meddles_gets_no_further(text: str, message: str) -> None:
    found = asked(text).problems
    assert [one.message.startswith(message) for one in found] == ([True] if message else [])


def test_code_that_takes_too_long_is_told_with_its_line() -> None:
    found = problem("import os, signal\ndef serve():\n    os.kill(os.getpid(), signal.SIGALRM)\nserve()\n")
    assert (found.line, found.message) == (3, "its import took more than 10 s")
    assert found.hint == "does it serve outside of if __name__ == '__main__'?"


def test_code_that_does_not_end_is_ended_with_what_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_child, "TIMEOUT", 0.2)
    monkeypatch.setattr(code_child, "_GRACE", 0.2)
    # The fixture `place` fails the test if the child's child is left.
    text = (
        "import os, signal\nos.fork()\nwhile True:\n    try:\n        signal.pause()\n    except BaseException: pass\n"
    )
    assert problem(text).message == "its import took more than 0 s"


def test_code_prints_nothing_and_sees_no_descriptor_of_netd(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    text = (
        "import os\nprint('hello')\nos.write(2, b'hello')\n"
        "devices = [os.stat(f'/proc/self/fd/{n}').st_rdev for n in range(3)]\n"
        "raise ValueError(devices + os.listdir('/proc/self/fd'))"
    )
    found = problem(text)
    null = os.stat(os.devnull).st_rdev
    # The three standard ones, the pipe of the answer, and that of listdir.
    assert re.fullmatch(rf"ValueError: \[({null}, ){{3}}'0', '1', '2', '\d+', '\d+'\]", found.message)
    assert capfd.readouterr() == ("", "")
    for descriptor in (reader, writer):
        os.close(descriptor)


def test_child_has_the_rights_of_a_worker() -> None:
    need_root()
    text = "import os\nraise ValueError(f'{os.getresuid()} {os.getgroups()}')"
    [found] = asked(text, run_as=RunAs("alex", ALEX, ALEX, (ALEX,))).problems
    assert found.message == f"ValueError: ({ALEX}, {ALEX}, {ALEX}) [{ALEX}]"


def test_user_that_the_child_cannot_become_is_an_error() -> None:
    need_root()
    with pytest.raises(OperatorError, match="cannot become alex, to import the code: .*No such file"):
        asked("", run_as=RunAs("alex", ALEX, ALEX, (ALEX,), chroot="/none"))
