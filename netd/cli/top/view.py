"""What `netd top` shows and what its keys do, without a terminal: answers and keys in, rows and questions out."""

from netd.cli.columns import HEADS, Answer, Row, service_rows
from netd.cli.top.rates import Rates, ordered
from netd.text import printable

SERVICE_SORTS = ("RATE", *(head for head in HEADS if head != "ENDPOINT"))
PEER_SORTS = ("CONNECTIONS", "IN", "OUT", "PEER")

HELP = (
    ("up, down, k, j", "select a service; page up, page down, home, end"),
    ("s, >, <", "sort by the next column, by the one before"),
    ("r", "reverse the order"),
    ("p, space", "pause, go on"),
    ("e, d", "enable, disable the selected service, until the next reload"),
    ("tab, P", "peers by number of connections; services"),
    ("enter", "peers of the selected service"),
    ("Ctrl-Z", "leave to the shell; fg comes back"),
    ("q, Ctrl-C", "quit"),
    ("", ""),
    ("RATE", "connections taken and datagrams answered a second"),
    ("GRAPH", "the rate over time, as high as its highest on the screen"),
)

Words = tuple[str, ...]


class View:
    """The state of the screen."""

    def __init__(self, sort: str) -> None:
        self.answer: Answer = {}
        """What netd has last answered to ``status``."""
        self.rates = Rates()
        self.peers: Answer | None = None
        """What it has last answered to ``peers``; None until then."""
        self.shows_peers = False
        self.peers_of: str | None = None
        """The service whose peers are shown; None for all."""
        self.shows_help = False
        self.paused = False
        self.message = ""
        """What became of the last key."""
        self.trouble = ""
        """Why there is no answer."""
        self.disabling: str | None = None
        """The service about which it is asked whether to disable it."""
        self.done = False
        self.page = 1
        """Rows that were on the screen."""
        self._sort = {False: SERVICE_SORTS.index(sort), True: 0}  # by whether peers are shown
        self._reverse = {False: False, True: False}
        self._selected = {False: "", True: ""}
        self._index = {False: 0, True: 0}  # where the selected row stood
        self._first = {False: 0, True: 0}

    # What comes from netd.

    def status_came(self, answer: Answer, now: float) -> None:
        """Netd has answered to ``status`` (now: CLOCK_MONOTONIC)."""
        self.answer = answer
        self.trouble = ""
        self.rates.add(answer, now)

    def questions(self) -> list[Words]:
        """What is to be asked to bring this up to date."""
        asked: list[Words] = [("status",)]
        if self.shows_peers:
            asked.append(("peers", f"service={self.peers_of}") if self.peers_of else ("peers",))
        return asked

    # What is shown.

    @property
    def sort(self) -> str:
        """The head of the column the rows are sorted by."""
        return (PEER_SORTS if self.shows_peers else SERVICE_SORTS)[self._sort[self.shows_peers]]

    @property
    def reverse(self) -> bool:
        """Whether the order is turned round."""
        return self._reverse[self.shows_peers]

    def rows(self) -> list[Row]:
        """All rows in their order, those of the services or those of the peers."""
        if self.shows_peers:
            peers = self.peers["peers"] if self.peers else []
            rows = [
                {
                    "PEER": printable(peer["peer"]),
                    "CONNECTIONS": peer["connections"],
                    "IN": peer["bytes_in"],
                    "OUT": peer["bytes_out"],
                }
                for peer in peers
            ]
        else:
            rows = [{**row, "RATE": self.rates.last(row["SERVICE"])} for row in service_rows(self.answer)]
        return ordered(rows, self.sort, reverse=self.reverse)

    def window(self, rows: list[Row], page: int) -> tuple[list[Row], int]:
        """The rows that are on a screen with room for so many, and which of them is selected."""
        self.page = page = max(1, page)
        index = self._find(rows)
        first = min(max(self._first[self.shows_peers], index - page + 1), index, max(0, len(rows) - page))
        self._first[self.shows_peers] = first
        return rows[first : first + page], index - first

    def _find(self, rows: list[Row]) -> int:
        """Where the selected row is. It moves with its name; where that is gone, the one in its place is selected."""
        names = [_name(row) for row in rows]
        which = self.shows_peers
        if self._selected[which] in names:
            self._index[which] = names.index(self._selected[which])
        else:
            self._index[which] = max(0, min(self._index[which], len(rows) - 1))
        return self._index[which]

    def selected(self) -> Answer | None:
        """What netd said of the selected service."""
        if self.shows_peers or not (rows := self.rows()):
            return None
        name = rows[self._find(rows)]["SERVICE"]
        services: list[Answer] = self.answer["services"]
        return next(one for one in services if printable(one["service"]) == name)

    # Keys.

    def press(self, key: str) -> Words | None:
        """Do what a key says; a command for netd, if it is one."""
        self.message = ""
        if key == "SIGINT":
            self.done = True
            return None
        if self.disabling is not None:
            return self._confirm(key)
        if self.shows_help:
            self.shows_help = False
            self.done = key == "q"
            return None
        rows = self.rows()
        index = self._find(rows)
        match key:
            case "q":
                self.done = True
            case "up" | "k":
                self._select(rows, index - 1)
            case "down" | "j":
                self._select(rows, index + 1)
            case "page up":
                self._select(rows, index - self.page)
            case "page down":
                self._select(rows, index + self.page)
            case "home":
                self._select(rows, 0)
            case "end":
                self._select(rows, len(rows) - 1)
            case "s" | ">":
                self._sort_by(1)
            case "<":
                self._sort_by(-1)
            case "r":
                self._reverse[self.shows_peers] ^= True
            case "p" | " ":
                self.paused = not self.paused
            case "tab" | "P":
                self._toggle_peers(None)
            case "enter" if service := self.selected():
                self._toggle_peers(service["service"])
            case "escape" if self.shows_peers:
                self._toggle_peers(None)
            case "?" | "h":
                self.shows_help = True
            case "e" | "d":
                return self._switch(on=key == "e")
        return None

    def _select(self, rows: list[Row], index: int) -> None:
        if rows:
            self._selected[self.shows_peers] = _name(rows[max(0, min(index, len(rows) - 1))])

    def _sort_by(self, step: int) -> None:
        sorts = PEER_SORTS if self.shows_peers else SERVICE_SORTS
        self._sort[self.shows_peers] = (self._sort[self.shows_peers] + step) % len(sorts)

    def _toggle_peers(self, service: str | None) -> None:
        self.shows_peers = not self.shows_peers
        self.peers, self.peers_of = None, service

    def _switch(self, *, on: bool) -> Words | None:
        service = self.selected()
        if service is None:
            self.message = "services are enabled and disabled in their own table: tab leads back"
            return None
        self._selected[False] = service["service"]
        if service["enabled"] == on:
            self.message = f"{service['service']} is {'on' if on else 'off'} already"
        elif on:
            return ("enable", service["service"])
        else:
            self.disabling = service["service"]
        return None

    def _confirm(self, key: str) -> Words | None:
        if key in ("y", "Y"):
            service, self.disabling = self.disabling, None
            assert service
            return ("disable", service)
        if key in ("n", "N", "q", "escape", "enter"):
            self.disabling = None
        return None


def _name(row: Row) -> str:
    return str(next(iter(row.values())))
