"""Tells the account what became of lines of xinetd."""

from netd.importers.account import Account, Outcome, Place
from netd.importers.xinetd.entries import Attribute, Entry


class Teller:
    """Tells the account about lines, each thing once: a line of `defaults` counts for many services."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._told: set[tuple[Place, Outcome, str]] = set()
        self._places: set[Place] = set()
        self._texts: set[str] = set()

    def tell(self, lines: list[Attribute], outcome: Outcome, text: str) -> None:
        """Add a finding about each line."""
        for line in lines:
            self.tell_place(line.place, line.text, outcome, text)

    def tell_place(self, place: Place, subject: str, outcome: Outcome, text: str) -> None:
        """Add a finding about one line."""
        if (place, outcome, text) in self._told:
            return
        self._told.add((place, outcome, text))
        self._places.add(place)
        match outcome:
            case Outcome.IMPORTED:
                self._account.imported(place, subject)
            case Outcome.NOTE:
                self._account.note(place, subject, text)
            case Outcome.LEFT_OUT:
                self._account.left_out(place, subject, text)

    def note(self, entry: Entry, text: str) -> None:
        """Add a note about the first line of an entry."""
        self.tell_place(entry.place, entry.text, Outcome.NOTE, text)

    def tell_once(self, entry: Entry, text: str) -> None:
        """Add a note about an entry, unless the same one was told of another."""
        if text not in self._texts:
            self._texts.add(text)
            self.note(entry, text)

    def tell_rest(self, entry: Entry, left_out: str = "") -> None:
        """Tell what became of the lines of an entry of which nothing was told: imported, or left out for a reason."""
        outcome = Outcome.LEFT_OUT if left_out else Outcome.IMPORTED
        for place, text in ((entry.place, entry.text), *((one.place, one.text) for one in entry.attributes)):
            if place not in self._places:
                self.tell_place(place, text, outcome, left_out)
