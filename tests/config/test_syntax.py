"""Text that is not YAML: where the mistake is, and what may be meant, with both parsers of PyYAML."""

from typing import Any

import pytest
import yaml

from netd.config.syntax import explain

LISTEN = "services:\n  echo:\n    listen: "


def explained(text: str, loader: Any) -> str:
    with pytest.raises(yaml.MarkedYAMLError) as raised:
        list(yaml.parse(text, Loader=loader))
    line, column, message, hint = explain(raised.value, text, loader)
    return f"{line}:{column}: {message}" + (f"; {hint}" if hint else "")


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def loader(request: pytest.FixtureRequest) -> Any:
    if not hasattr(yaml, request.param):
        pytest.skip("PyYAML is built without libyaml")
    return getattr(yaml, request.param)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        # Tabs.
        ("services:\n\techo:\n\t\tlisten: [tcp://*:7]\n", "2:1: a tab; YAML is indented with spaces"),
        ("services:\n  echo:\n\tlisten: [tcp://*:7]\n", "3:1: a tab; YAML is indented with spaces"),
        ("services:\n  \techo:\n", "2:3: a tab; YAML is indented with spaces"),
        # Signs of YAML at the beginning of a value.
        (LISTEN + "[*:7007]\n", '3:14: * begins an alias in YAML; did you mean "tcp://*:7007"?'),
        (LISTEN + "*:7007\n", '3:13: * begins an alias in YAML; did you mean "tcp://*:7007"?'),
        (LISTEN + "[*]\n", '3:14: * begins an alias in YAML; write it in quotes: "*"'),
        ("a: & x\n", '1:4: & begins an anchor in YAML; write it in quotes: "&"'),
        (LISTEN + "!<foo bar\n", '3:13: ! begins a tag in YAML; write it in quotes: "!<foo"'),
        (LISTEN + "[@foo]\n", '3:14: a value cannot begin with @; write it in quotes: "@foo"'),
        ("a: `b`\n", '1:4: a value cannot begin with `; write it in quotes: "`b`"'),
        ("a: {format: %H:%M}\n", '1:13: a value cannot begin with %; write it in quotes: "%H:%M"'),
        ("%YAML 3.0\n---\na: 1\n", "1:1: a line that begins with % is a directive of YAML"),
        # Quotes.
        (LISTEN + "['tcp://*:7]\n  time:\n    listen: [tcp://*:37]\n", "3:14: this quote is not closed"),
        (LISTEN + '["tcp://*:7]\n  time:\n    listen: [tcp://*:37]\n', "3:14: this quote is not closed"),
        (
            LISTEN + "['tcp://*:7]\n  time:\n    listen: ['tcp://*:37']\n",
            "3:14: this quote is not closed in its line",
        ),
        (
            'a: "C:\\dir"\n',
            r"1:7: unknown escape sequence; in single quotes a \ stands for itself; in double quotes, \\",
        ),
        ("a: 'x' y\n", "1:8: text after the closing '"),
        ('a: "x" "y"\n', '1:8: text after the closing "'),
        # Brackets and braces.
        (
            LISTEN + "[tcp://[::1]:7007]\n",
            '3:14: in a list in brackets, a value with brackets needs quotes; write "tcp://[::1]:7007"',
        ),
        (
            LISTEN + "[tcp://*:7, udp://[fe80::1%eth0]:7]\n",
            '3:25: in a list in brackets, a value with brackets needs quotes; write "udp://[fe80::1%eth0]:7"',
        ),
        (
            "a: {b: tcp://[::1]:7}\n",
            '1:8: in a mapping in braces, a value with brackets needs quotes; write "tcp://[::1]:7"',
        ),
        (LISTEN + "[tcp://*:7\n  time:\n    listen: [tcp://*:37]\n", "3:13: this [ is not closed"),
        ("services:\n  echo: {listen: [tcp://*:7]\n  time: {listen: []}\n", "2:9: this { is not closed"),
        ("a: [1, {b: 2\n", "1:8: this { is not closed"),
        ("a: [1\n\n\n", "1:4: this [ is not closed"),
        ("a: [1}\n", "1:6: expected ], since [ was opened last"),
        ("a: ]\n", "1:4: nothing is opened that this ] closes"),
        ("a: {}}\n", "1:6: nothing is opened that this } closes"),
        ("a: [x,, y]\n", "1:7: a value is missing before this comma"),
        ("a: ['x' 'y']\n", "1:9: a comma is missing before this value"),
        ("a: ['x'\n  'y']\n", "2:3: a comma is missing before this value"),
        ("a: {b: c: d}\n", "1:9: a colon within a value; write the value in quotes"),
        # Colons and dashes.
        ("services:\n  echo:{listen: [tcp://*:7]}\n", "2:7: a space is missing after 'echo:'"),
        (LISTEN[:-1] + "[tcp://*:7]\n    enabled: true\n", "3:11: a space is missing after 'listen:'"),
        ("echo:\n    enabled:true\n    listen: [tcp://*:7]\n", "2:12: a space is missing after 'enabled:'"),
        ("echo:\n    listen: [tcp://*:7]\n    enabled:true\n", "3:12: a space is missing after 'enabled:'"),
        ("echo:\n  listen:\n  -tcp://*:7\n  - udp://*:7\n", "3:3: a space is missing after '-'"),
        ("services:\n  echo\n    listen: [tcp://*:7]\n", "2:7: a colon is missing after 'echo'"),
        ("echo:\n    listen [tcp://*:7]\n    enabled: true\n", "2:11: a colon is missing after 'listen'"),
        ("options:\n  format: a: b\n", "2:12: a colon within a value; write the value in quotes"),
        # Indentation.
        (
            LISTEN + "[tcp://*:7]\n   enabled: true\n",
            "4:4: this line is indented by 3, unlike those that it belongs to; indent all keys of a section alike",
        ),
        (
            "log:\n  level: info\n   format: auto\n",
            "3:4: this line is indented by 3, unlike those that it belongs to; indent all keys of a section alike",
        ),
        ("a: ,b\n", "1:4: a value cannot begin with ,; write it in quotes"),
        ("a: - b\n", "1:4: a list item after a key; begin each item in a line of its own"),
        ("upper and lower\n  enabled: false\n", "1:1: no colon in this line, and the next one has a key"),
        (
            "a:\n    listen:\n    - tcp://*:7\n    enabled: true\n    - udp://*:7\n",
            "5:5: a list item where a key is expected; indent all items of a list alike",
        ),
        ("a: |5x\n", "1:6: nothing but a comment can stand after | or >"),
    ],
)
def test_mistake_is_explained_where_it_stands(text: str, fault: str, loader: Any) -> None:
    assert explained(text, loader) == fault


def test_error_without_a_place_is_at_the_beginning() -> None:
    assert explain(yaml.MarkedYAMLError(), "a", yaml.SafeLoader) == (1, 1, "invalid YAML", "")


def test_error_of_no_known_kind_has_its_place(loader: Any) -> None:
    text = "x" * 1100 + ": 1\n"
    assert explained(text, loader) == "1:1101: invalid YAML: no key, value or end of a value can stand here"
