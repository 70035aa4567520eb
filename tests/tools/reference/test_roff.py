"""Markdown as man(7)."""

import pytest

from tools.reference.roff import page


def lines(text: str) -> list[str]:
    return page("x", 1, text).splitlines()[2:]


def test_a_page_begins_with_its_name_and_section() -> None:
    assert page("netd.yaml", 5, "# Name").splitlines()[1].startswith(".TH NETD.YAML 5 ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# See also", [".SH SEE ALSO"]),
        ("## netd `run`", [r".SS netd \fBrun\fR"]),
        ("# One\n\ntext", [".SH ONE", "text"]),
        ("One. Two: three", [".PP", "One.", "Two:", "three"]),
        ("`-c` *FILE*", [".PP", r"\fB\-c\fR \fIFILE\fR"]),
        ("`a: b c` d", [".PP", r"\fBa: b c\fR d"]),
        ("[a `page`](x.md), netd\\-talk", [".PP", r"a \fBpage\fR, netd\-talk"]),
        ("`'~^\\`", [".PP", r"\fB\(aq\(ti\(ha\e\fR"]),
        (r"a\*b", [".PP", "a*b"]),
        (".gitignore\n'quoted'", [".PP", r"\&.gitignore 'quoted'"]),
        ("    code\n      .more", [".PP", ".RS 4", ".EX", "code", "  .more", ".EE", ".RE"]),
        ("- a\n- b\n  c", [r".IP \(bu 3", "a", r".IP \(bu 3", "b c"]),
        ("`term`\n: meaning\n\n: more", [".TP", r"\fBterm\fR", "meaning", ".IP", "more"]),
    ],
)
def test_blocks(text: str, expected: list[str]) -> None:
    assert lines(text) == expected


def test_lines_are_short_and_code_is_whole() -> None:
    found = lines("word " * 40 + "`two words` " + "word " * 40)
    assert max(map(len, found)) <= 80
    assert sum(r"\fBtwo words\fR" in line for line in found) == 1
