"""The state of `netd top`, without a terminal: answers of netd and keys in, rows and requests to netd out."""

from netd.cli.columns import HEADS, Answer, Row, service_rows
from netd.cli.top.rates import Rates, ordered
from netd.text import printable

SERVICE_SORTS = ("RATE", "OCTETS/S", *(head for head in HEADS if head != "ENDPOINT"))
PEER_SORTS = ("OPEN", "IN", "OUT", "PEER")

HELP = (
    ("up, down, k, j", "select a service; page up, page down, home, end"),
    ("s, >, <", "sort by the next column, by the one before"),
    ("r", "reverse the order"),
    ("p, space", "pause, resume"),
    ("e, d", "enable, disable the selected service, until the next reload"),
    ("tab, P", "switch between services and peers"),
    ("enter", "peers of the selected service"),
    ("Ctrl-Z", "suspend; fg in the shell resumes"),
    ("q, Ctrl-C", "quit"),
    ("", ""),
    ("RATE", "requests a second: datagrams, and what arrived at once on"),
    ("", "a connection, at least one for each"),
    ("OCTETS/S", "octets received and sent a second"),
    ("GRAPH", "the rate over time, scaled to its highest value"),
)

Request = tuple[str, ...]
"""The words of a control command."""


class View:
    """The rows, the selection, the order and the messages that the screen shows."""

    def __init__(self, sort: str) -> None:
        self.answer: Answer = {}
        """The last answer to ``status``."""
        self.rates = Rates()
        self.peers: Answer | None = None
        """The last answer to ``peers``; None before the first."""
        self.shows_peers = False
        self.peers_of: str | None = None
        """The service of the peers that are shown; None for all services."""
        self.shows_help = False
        self.paused = False
        self.message = ""
        """The result of the last key."""
        self.trouble = ""
        """Why the last ``status`` got no answer; empty if it did."""
        self.disabling: str | None = None
        """The service that waits for a confirmation before it is disabled."""
        self.done = False
        self.page = 1
        """Rows on the screen when it was last drawn."""
        self._sort = {False: SERVICE_SORTS.index(sort), True: 0}  # by whether peers are shown
        self._reverse = {False: False, True: False}
        self._selected = {False: "", True: ""}
        self._index = {False: 0, True: 0}  # the place of the selected row
        self._first = {False: 0, True: 0}

    # Answers of netd.

    def on_status(self, answer: Answer, now: float) -> None:
        """Apply an answer to ``status`` (``now``: CLOCK_MONOTONIC)."""
        self.answer = answer
        self.trouble = ""
        self.rates.add(answer, now)

    def requests(self) -> list[Request]:
        """The requests that update this view."""
        requests: list[Request] = [("status",)]
        if self.shows_peers:
            requests.append(("peers", f"service={self.peers_of}") if self.peers_of else ("peers",))
        return requests

    # Rows.

    @property
    def sort(self) -> str:
        """The head of the column that sorts the rows."""
        return (PEER_SORTS if self.shows_peers else SERVICE_SORTS)[self._sort[self.shows_peers]]

    @property
    def reverse(self) -> bool:
        """Whether the order is reversed."""
        return self._reverse[self.shows_peers]

    def rows(self) -> list[Row]:
        """All rows in their order: the services, or the peers."""
        if self.shows_peers:
            peers = self.peers["peers"] if self.peers else []
            rows = [
                {
                    "PEER": printable(peer["peer"]),
                    "OPEN": peer["connections"],
                    "IN": peer["received_bytes"],
                    "OUT": peer["sent_bytes"],
                }
                for peer in peers
            ]
        else:
            rates = self.rates
            rows = [
                {**row, "RATE": rates.last(row["SERVICE"]), "OCTETS/S": rates.octets.get(row["SERVICE"])}
                for row in service_rows(self.answer)
            ]
        return ordered(rows, self.sort, reverse=self.reverse)

    def window(self, rows: list[Row], page: int) -> tuple[list[Row], int]:
        """The rows on a screen of ``page`` rows, and the index of the selected one among them."""
        self.page = page = max(1, page)
        index = self._find(rows)
        first = min(max(self._first[self.shows_peers], index - page + 1), index, max(0, len(rows) - page))
        self._first[self.shows_peers] = first
        return rows[first : first + page], index - first

    def _find(self, rows: list[Row]) -> int:
        """The index of the selected row. The selection follows the name; if that row is removed, the index stays."""
        names = [_name(row) for row in rows]
        peers = self.shows_peers
        if self._selected[peers] in names:
            self._index[peers] = names.index(self._selected[peers])
        else:
            self._index[peers] = max(0, min(self._index[peers], len(rows) - 1))
        return self._index[peers]

    def selected(self) -> Answer | None:
        """The selected service, as in the answer of netd; None where peers are shown or there is no service."""
        if self.shows_peers or not (rows := self.rows()):
            return None
        name = rows[self._find(rows)]["SERVICE"]
        services: list[Answer] = self.answer["services"]
        return next(one for one in services if printable(one["service"]) == name)

    # Keys.

    def press(self, key: str) -> Request | None:
        """Apply a key. A request to netd, if the key makes one."""
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
                return self._enable(on=key == "e")
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

    def _enable(self, *, on: bool) -> Request | None:
        service = self.selected()
        if service is None:
            self.message = "peers cannot be enabled or disabled: press tab for services"
            return None
        self._selected[False] = service["service"]
        if service["enabled"] == on:
            self.message = f"{service['service']} is already {'on' if on else 'off'}"
        elif on:
            return ("enable", service["service"])
        else:
            self.disabling = service["service"]
        return None

    def _confirm(self, key: str) -> Request | None:
        if key in ("y", "Y"):
            service, self.disabling = self.disabling, None
            assert service
            return ("disable", service)
        if key in ("n", "N", "q", "escape", "enter"):
            self.disabling = None
        return None


def _name(row: Row) -> str:
    return str(next(iter(row.values())))
