"""Where the code of a `python` service is."""

import re

import pytest
from pydantic import ValidationError

from netd.errors import InvalidValueError
from netd.services.python.options import PythonOptions, Reference, parse_reference


def options(**values: object) -> Reference:
    return PythonOptions.model_validate(values)


def test_file_and_its_class() -> None:
    found = options(**{"class": "/srv/a:b/greet.py:Greet"})
    assert (found.place, found.file, found.name, found.own) == ("/srv/a:b/greet.py", "/srv/a:b/greet.py", "Greet", {})


def test_module_and_its_class() -> None:
    found = options(**{"class": "greetings.polite:greet_2"})
    assert (found.place, found.file, found.name) == ("greetings.polite", "", "greet_2")


def test_other_options_are_those_of_the_class() -> None:
    own = {"name": "x", "place": [1, {"a": None}], "greeting": "hi"}
    found = options(**{"class": "a:B"}, **own)
    assert (found.own, found.name) == (own, "B")
    assert found.written() == {"class": "a:B", **own}
    assert found != options(**{"class": "a:B"}, **{**own, "greeting": "ho"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "expected /PATH/FILE.py:CLASS or package.module:CLASS, got 3"),
        ("", "expected /PATH/FILE.py:CLASS or package.module:CLASS, got ''"),
        ("greet", "expected /PATH/FILE.py:CLASS or package.module:CLASS, got 'greet'"),
        ("greet:", "expected /PATH/FILE.py:CLASS or package.module:CLASS, got 'greet:'"),
        ("a..b:C", "expected /PATH/FILE.py:CLASS or package.module:CLASS, got 'a..b:C'"),
        ("a\0b:C", "expected /PATH/FILE.py:CLASS or package.module:CLASS, got 'a\\x00b:C'"),
        (
            "/srv/greet.py",
            "got '/srv/greet.py'; append ':' and the name of the class",
        ),
        ("greet.py:Greet", "expected the absolute path of a file, got 'greet.py'"),
        ("./greet:Greet", "expected the absolute path of a file, got './greet'"),
        ("/srv/greet.py:Greet()", "expected the name of a class or function after ':', got 'Greet()'"),
    ],
)
def test_text_that_is_neither_is_an_error(given: object, message: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(message) + "$"):
        parse_reference(given)


def test_class_has_to_be_given() -> None:
    with pytest.raises(ValidationError, match="Field required"):
        options(greeting="hi")
