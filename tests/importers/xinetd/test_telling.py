"""Telling each thing once."""

from netd.importers.account import Account, Outcome, Place
from netd.importers.xinetd.entries import Attribute, Entry
from netd.importers.xinetd.telling import Teller


def test_a_line_is_told_once_for_each_reason_and_imported_without_one() -> None:
    account = Account()
    teller = Teller(account)
    lines = [Attribute("a", "=", ["1"], Place("f", number), f"a = {number}") for number in (2, 3)]
    entry = Entry("service", "x", Place("f", 1), "service x", [], lines)
    teller.tell(lines[:1], Outcome.NOTE, "why")
    teller.tell(lines[:1], Outcome.NOTE, "why")
    teller.tell_once(entry, "general")
    teller.tell_once(Entry("service", "y", Place("f", 9), "service y", []), "general")
    teller.tell_rest(entry)
    teller.tell_rest(entry, "too late")
    assert [str(one) for one in account.findings] == [
        "f:1: note: service x: general",
        "f:2: note: a = 2: why",
        "f:3: imported: a = 3",
    ]
