"""The YAML that is written: what netd reads from it is what was meant, whatever the text."""

import pytest

from netd.config import source
from netd.importers.account import Place
from netd.importers.document import Document, Service, Word
from netd.importers.yaml_text import render, scalar


@pytest.mark.parametrize(
    "text",
    [
        *("plain", "/usr/bin/x", "-n", "--a=b", "tcp://*:7", "10.0.0.0/8", "x@y", "a:b", "+x", "%i"),
        *("yes", "no", "off", "null", "~", "12", "1.5", "0x1f", "1e3", "12:30", "2026-11-26", "=", "<<", "", " ", "-"),
        *("a: b", "a #b", "#x", "a,b", "[x", "{x}", "]", "*x", "&x", "!x", "|", ">", "'x'", '"x"', "a\\b", "x:", "a b"),
        *("\t", "\x1b[0m", "a\nb", "é", "\u2028", "\U0001f600", "\x85", "\ufeff", "---", "...", "?", "@x", "`x"),
    ],
)
def test_text_is_read_as_it_was(text: str) -> None:
    tree = source.parse(f"a: {scalar(text)}\nb: [{scalar(text)}, {{{scalar(text)}: x}}]\n".encode(), "f").tree
    assert tree == {"a": text, "b": [text, {text: "x"}]}


def test_words_of_commands_need_no_quotes() -> None:
    words = ["/usr/bin/x", "-n", "--a=b", "tcp://*:7", "10.0.0.0/8", "nobody"]
    assert [scalar(word) for word in words] == words


def test_a_config_has_its_comments_above_what_they_explain() -> None:
    document = Document()
    document.heading = ["made", ""]
    document.closing = ["the end \x1b"]
    made = Service("echo", Place("f", 1), ["says it back", "", "\tindented"])
    made.put([*(f"tcp://192.0.2.{number}:7" for number in range(8))], "listen", comments=["where"])
    made.put({"connections": 3, "idle": Word("off")}, "limits")
    made.put("007", "options", "umask", comments=["private"])
    made.put(True, "options", "relay")
    document.add(made)
    document.daemon = {"user": "netd"}
    assert render(document) == (
        "# made\n#\n\n"
        "daemon:\n  user: netd\n"
        "services:\n"
        "  # says it back\n  #\n  #         indented\n"
        "  echo:\n"
        "    # where\n    listen:\n"
        + "".join(f"      - tcp://192.0.2.{number}:7\n" for number in range(8))
        + "    limits: {connections: 3, idle: off}\n"
        '    options:\n      # private\n      umask: "007"\n      relay: true\n'
        "\n# the end \\x1b\n"
    )


def test_a_config_without_services_can_be_read() -> None:
    assert source.parse(render(Document()).encode(), "f").tree == {"services": {}}
