"""What stands in files and in no object."""

from netd import endpoints, errors
from tools.reference.source import docstrings, filled


def test_docstrings_of_constants_and_of_fields() -> None:
    assert list(docstrings(errors))[:2] == ["EXIT_OK", "EXIT_NO"]
    options = docstrings(endpoints, "SocketOptions")
    assert options.keys() == endpoints.SocketOptions.__dataclass_fields__.keys()
    assert "listen(2)" in options["backlog"]


def test_a_text_gets_its_parts() -> None:
    text = filled("netd-talk.1.md", {"options": "all of them"})
    assert "# Options\n\nall of them\n" in text
    assert "{{synopsis}}" in text
