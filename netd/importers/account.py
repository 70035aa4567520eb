"""The account of an import: what became of each line of the source."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from netd.text import printable

_LONGEST_SUBJECT = 200


class Outcome(StrEnum):
    """What became of a line."""

    IMPORTED = "imported"
    NOTE = "note"
    """Its meaning is kept, and the operator may not have known it."""
    LEFT_OUT = "not imported"


@dataclass(frozen=True, order=True)
class Place:
    """A line of the source."""

    file: str
    line: int = 0
    """From 1; 0 is the file as a whole."""

    def __str__(self) -> str:
        return f"{printable(self.file)}:{self.line}" if self.line else printable(self.file)


@dataclass(frozen=True)
class Finding:
    """What became of a line, or of a part of it."""

    place: Place
    outcome: Outcome
    subject: str
    """What the line says, as ``per_source = 3``."""
    text: str = ""
    """The reason, or what the operator has to know; empty where it was imported as it is."""

    def __str__(self) -> str:
        reason = f": {printable(self.text)}" if self.text else ""
        return f"{self.place}: {self.outcome}: {printable(self.subject[:_LONGEST_SUBJECT])}{reason}"

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "file": self.place.file,
            "line": self.place.line or None,
            "outcome": str(self.outcome),
            "subject": self.subject,
            "text": self.text or None,
        }


class Account:
    """Collects the findings, in the order of the source."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._files: dict[str, int] = {}
        self.drop_ins: dict[str, None] = {}
        """The drop-ins of the systemd unit that the result needs, each once (`netd.config.drop_ins`)."""

    def imported(self, place: Place, subject: str) -> None:
        """A line that means the same in netd."""
        self._add(Finding(place, Outcome.IMPORTED, subject))

    def note(self, place: Place, subject: str, text: str) -> None:
        """A line with the same meaning, and something about it that the operator may not have known."""
        self._add(Finding(place, Outcome.NOTE, subject, text))

    def left_out(self, place: Place, subject: str, text: str) -> None:
        """A line that has no counterpart in the result, and why."""
        self._add(Finding(place, Outcome.LEFT_OUT, subject, text))

    def _add(self, finding: Finding) -> None:
        self._files.setdefault(finding.place.file, len(self._files))
        self._found.append(finding)

    @property
    def findings(self) -> list[Finding]:
        """By file, in the order in which the files were read, and by line."""
        return sorted(self._found, key=lambda one: (self._files[one.place.file], one.place.line))

    @property
    def counts(self) -> dict[Outcome, int]:
        """The number of findings with each outcome."""
        found = Counter(one.outcome for one in self._found)
        return {outcome: found[outcome] for outcome in Outcome}
