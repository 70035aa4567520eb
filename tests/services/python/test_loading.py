"""Code from a text or a module, as a service type."""

import sys
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError

from netd.contract import Context
from netd.docstrings import meaning
from netd.services.python import loading
from netd.services.python.loading import UnfitError, load
from netd.services.python.options import PythonOptions
from netd.services.python.running import RunningCode
from netd.services.upper import Upper
from netd.telemetry.code_events import CodeEvents

GREET = """
from __future__ import annotations
from netd.contract import Context
from netd.values import Model

class Greet:
    '''Greets.'''
    class Options(Model):
        greeting: str = "hello"
    def __init__(self, options: Options, context: Context) -> None:
        self.greeting = options.greeting
    def datagram(self, data, peer):
        return self.greeting.encode()
"""


def greet(version: str = "") -> str:
    return GREET + f"VERSION = '{version}'\n"


def test_class_of_a_text_has_its_own_options() -> None:
    kind = load("/none/greet.py", "Greet", greet())
    assert (kind.name, kind.summary, kind.datagrams, kind.serving) == ("python", "Greets.", "answer", None)
    assert kind.build(kind.options(), Context()).greeting == "hello"
    served = loading.as_python(kind, RunningCode(CodeEvents()))
    options = PythonOptions.model_validate({"class": "/none/greet.py:Greet", "greeting": "hi"})
    assert served.options is PythonOptions
    assert served.build(options, Context()).service.greeting == "hi"
    with pytest.raises(ValidationError):
        served.build(PythonOptions.model_validate({"class": "a:B", "greeting": 3}), Context())


def test_same_text_is_executed_once_and_another_one_again() -> None:
    first = load("/none/greet.py", "Greet", greet())
    assert load("/none/greet.py", "Greet", greet()) is first
    second = load("/none/greet.py", "Greet", greet("2"))
    assert second is not first
    assert sys.modules["/none/greet.py"].VERSION == "2"
    assert first.build(first.options(), Context()).datagram(b"", None) == b"hello", "the first one goes on"


def test_text_that_fails_changes_nothing() -> None:
    load("/none/fails.py", "Greet", greet())
    before = sys.modules["/none/fails.py"]
    with pytest.raises(ZeroDivisionError):
        load("/none/fails.py", "Greet", "1 / 0")
    assert sys.modules["/none/fails.py"] is before
    with pytest.raises(SyntaxError):
        load("/none/new.py", "Greet", "class")
    assert "/none/new.py" not in sys.modules


def test_traceback_shows_the_line_of_the_text_that_was_executed() -> None:
    kind = load(
        "/none/lines.py", "Fails", "class Fails:\n    def datagram(self, data, peer):\n        return 1 / data\n"
    )
    with pytest.raises(TypeError) as raised:
        kind.build(kind.options(), Context()).datagram(b"", None)
    shown = "".join(traceback.format_exception(raised.value))
    assert 'File "/none/lines.py", line 3, in datagram\n    return 1 / data' in shown


@pytest.mark.parametrize("end", ["\f\n", "x = '\u2028\x85\x1c'\n", "# one\r", "# one\r\n"])
def test_lines_are_those_of_the_compiler(end: str) -> None:
    text = (
        f"{end}from netd.values import Model\nclass Options(Model):\n    word: str = ''\n    'A word.'\n"
        "class Says:\n    Options = Options\n    def datagram(self, data, peer):\n        return data\n"
    )
    kind = load(f"/none/{end!r}.py", "Says", text)
    assert meaning(kind.options, "word") == "A word."


def test_class_of_a_module() -> None:
    kind = load("netd.services.upper", "Upper", "")
    assert type(kind.build(kind.options(), Context())) is Upper


def test_name_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="/none/greet.py has no 'Gret'; did you mean 'Greet'?"):
        load("/none/greet.py", "Gret", greet())
    with pytest.raises(ModuleNotFoundError):
        load("netd_none", "Greet", "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("stream = 3", "'stream' has to be a method, and is 3"),
        ("program = print", "are for a class of a package"),
        ("datagram = print; counters = ('x',)", "are for a class of a package"),
        ("pass", "it has neither stream nor datagram"),
    ],
)
def test_class_that_cannot_be_served_is_told(body: str, message: str) -> None:
    with pytest.raises(UnfitError, match=message):
        load("/none/unfit.py", "Unfit", f"class Unfit: {body}\n")
