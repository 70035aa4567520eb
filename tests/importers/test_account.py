"""The account: order, text and numbers of what became of each line."""

from netd.importers.account import Account, Finding, Outcome, Place


def test_findings_come_by_file_in_the_order_of_reading_and_by_line() -> None:
    account = Account()
    account.imported(Place("b", 1), "include a")
    account.note(Place("a", 3), "x = 1", "why")
    account.left_out(Place("b", 9), "y = 2", "no such thing")
    account.imported(Place("a", 2), "z = 3")
    assert [str(one) for one in account.findings] == [
        "b:1: imported: include a",
        "b:9: not imported: y = 2: no such thing",
        "a:2: imported: z = 3",
        "a:3: note: x = 1: why",
    ]
    assert account.counts == {Outcome.IMPORTED: 2, Outcome.NOTE: 1, Outcome.LEFT_OUT: 1}


def test_findings_are_printable_lines_of_a_bounded_length() -> None:
    text = str(Finding(Place("/etc/\x1b[2J\n", 0), Outcome.NOTE, "a\x9b" + "b" * 10_000, "c\rd"))
    assert text.isprintable()
    assert text.startswith("/etc/\\x1b[2J\\n: note: a\\x9bbb")
    assert len(text) < 300


def test_fields_are_whole_and_null_where_there_is_nothing() -> None:
    assert Finding(Place("f"), Outcome.IMPORTED, "x" * 300).fields() == {
        "file": "f",
        "line": None,
        "outcome": "imported",
        "subject": "x" * 300,
        "text": None,
    }
