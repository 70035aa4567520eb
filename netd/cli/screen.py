"""How `netd top` looks: what its view shows, laid out with rich for a screen of some size."""

from rich.layout import Layout
from rich.table import Table
from rich.text import Text

from netd.cli.columns import NUMBERS, Answer, Row, daemon_lines, printable
from netd.cli.rates import readable_number, readable_rate, sparkline
from netd.cli.view import HELP, View

# Left to right. A narrow screen goes without some, those first that matter least; of the selected service all is told
# below the table.
_SERVICE_HEADS = ("SERVICE", "ENDPOINT", "RATE", "GRAPH", *NUMBERS, "STATE")
_PEER_HEADS = ("PEER", "CONNECTIONS", "IN", "OUT")
_LEAST = ("ENDPOINT", "GRAPH", "STATE", "ANSWERED", "DROPPED", "FAILED", "REFUSED", "CONNECTIONS")
_SHORT = {"CONNECTIONS": "CONNS"}
_TEXTS = ("SERVICE", "ENDPOINT", "PEER", "STATE")
_WIDEST = {"SERVICE": 24, "ENDPOINT": 44}
_GRAPH = 10  # the narrowest that shows anything
_TOTAL = 60  # the widest graph of all services together
_GAP = 2
_KEYS = "q quit  s sort  r reverse  p pause  e/d enable/disable  tab peers  ? help"


class Screen:
    """Draws a view. ``blocks`` says whether the terminal shows more than ASCII."""

    def __init__(self, view: View, *, blocks: bool) -> None:
        self._view = view
        self._blocks = blocks

    def draw(self, width: int, height: int) -> Layout:
        """The whole screen."""
        view = self._view
        head = [
            *(daemon_lines(view.answer) if height >= 10 else ()),
            self._peers_line() if view.shows_peers else self._totals_line(width),
        ]
        foot = _details(view) if height >= 15 else []
        texts = [self._text(line) for line in (*head, *foot)]
        if height >= 10:
            texts[0].stylize("bold")
        texts.append(self._last_line(width))
        body = _help() if view.shows_help else self._table(width, height - len(texts) - 1)
        layout = Layout()
        layout.split_column(
            Layout(_lines(texts[: len(head)]), size=len(head)),
            Layout(body, minimum_size=1),
            Layout(_lines(texts[len(head) :]), size=len(foot) + 1),
        )
        return layout

    def _text(self, text: str) -> Text:
        """Text as it is: whatever is in it means nothing to rich."""
        if not self._blocks:
            text = text.encode("ascii", "backslashreplace").decode("ascii")
        return Text(text, no_wrap=True, overflow="crop")

    def _totals_line(self, width: int) -> str:
        services = self._view.answer["services"]
        total = self._view.rates.total(_TOTAL)
        on = sum(one["enabled"] for one in services)
        connections = sum(one["connections"] for one in services)
        text = (
            f"{on} of {len(services)} service{'s' * (len(services) != 1)} on, "
            f"{connections} connection{'s' * (connections != 1)}, "
            f"{readable_rate(total[-1] if total else None)} answered/s"
        )
        room = min(_TOTAL, width - len(text) - _GAP)
        return text + " " * _GAP + sparkline(total, room, blocks=self._blocks).lstrip() if room >= _GRAPH else text

    def _peers_line(self) -> str:
        view = self._view
        whose = f"of {printable(view.peers_of)}" if view.peers_of else "of all services"
        if view.peers is None:
            return f"peers {whose}"
        total, shown = view.peers["total"], sum(peer["connections"] for peer in view.peers["peers"])
        text = f"peers {whose}: {total} connection{'s' * (total != 1)}"
        return (
            text if shown == total else f"{text}, {shown} of them from the {len(view.peers['peers'])} peers with most"
        )

    def _last_line(self, width: int) -> Text:
        view = self._view
        if view.disabling is not None:
            text, style = (
                f"disable {view.disabling}? It stops; live connections have limits.drain to finish. y/n",
                "bold",
            )
        elif view.trouble:
            text, style = printable(view.trouble), "bold red"
        elif view.message:
            text, style = printable(view.message), "bold"
        elif view.paused:
            text, style = "PAUSED: p goes on", "bold yellow"
        else:
            text, style = _KEYS, ""
        line = self._text(text.ljust(width))
        line.stylize(f"reverse {style}".strip())
        return line

    # The table.

    def _table(self, width: int, page: int) -> Table:
        view = self._view
        rows, selected = view.window(view.rows(), page)
        cells = [{head: _cell(head, value) for head, value in row.items()} for row in rows]
        heads, widths = _fit(_PEER_HEADS if view.shows_peers else _SERVICE_HEADS, cells, width)
        table = Table(box=None, expand=True, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="reverse green")
        for head in heads:
            text = self._text(_SHORT.get(head, head))
            if head == view.sort:
                text.stylize("bold underline")
            right = head not in _TEXTS and head != "GRAPH"
            grows = head == ("GRAPH" if "GRAPH" in heads else heads[0])
            table.add_column(
                text,
                justify="right" if right else "left",
                no_wrap=True,
                overflow="crop",
                width=None if grows else widths[head],
                ratio=1 if grows else None,
            )
        graph = width - sum(widths[head] + _GAP for head in heads if head != "GRAPH")
        for number, (row, texts) in enumerate(zip(rows, cells, strict=True)):
            if "GRAPH" in heads:
                series = view.rates.series.get(row["SERVICE"], ())
                texts["GRAPH"] = sparkline(list(series), graph - _GAP, blocks=self._blocks)
            shown = [self._text(texts[head]) for head in heads]
            table.add_row(*shown, style=_style(row, is_selected=number == selected))
        return table


def _fit(heads: tuple[str, ...], cells: list[dict[str, str]], width: int) -> tuple[list[str], dict[str, int]]:
    """The columns that fit, and how wide each is."""
    widths = {"GRAPH": _GRAPH}
    for head in heads:
        if head != "GRAPH":
            natural = max([len(_SHORT.get(head, head)), *(len(row[head]) for row in cells)])
            # Numbers grow; a table that stays as it is reads better.
            widths[head] = min(natural, _WIDEST.get(head, width)) if head in _TEXTS else max(natural, 6)
    kept = list(heads)
    for head in _LEAST:
        if sum(widths[one] + _GAP for one in kept) - _GAP <= width:
            break
        if head in kept:
            kept.remove(head)
    return kept, widths


def _cell(head: str, value: object) -> str:
    if isinstance(value, list):
        more = f" +{len(value) - 1}" if len(value) > 1 else ""
        return value[0] + more if value else "-"
    if head == "RATE":
        assert value is None or isinstance(value, float)
        return readable_rate(value)
    if isinstance(value, int):
        return readable_number(value)
    # Why it is off is told below the table.
    return str(value).partition(" ")[0] if head == "STATE" else str(value)


def _style(row: Row, *, is_selected: bool) -> str:
    if is_selected:
        return "reverse cyan"
    if row.get("STATE", "on").startswith("off"):
        return "dim"
    return "red" if row.get("FAILED") else ""


def _details(view: View) -> list[str]:
    """All about the selected service that has no room in its row."""
    service = view.selected()
    if service is None:
        return ["", ""]
    why = f" ({service['why']})" if service["why"] else ""
    endpoints = " ".join(printable(url) for url in service["endpoints"])
    counters: Answer = service["counters"]
    facts = [f"{readable_number(counters.get(f'bytes_{way}', 0))} octets {way}" for way in ("in", "out")]
    for what in ("refused", "dropped"):
        reasons = ", ".join(f"{reason} {number}" for reason, number in counters.get(what, {}).items())
        facts += [f"{what}: {reasons}"] if reasons else []
    if checks := counters.get("checks"):
        facts.append(f"checks: {checks}")
    state = "on" if service["enabled"] else "off"
    kind = f" ({service['type']})" if service["type"] != service["service"] else ""
    return [f"{service['service']}{kind} {state}{why}: {endpoints}", "; ".join(facts)]


def _help() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for keys, what in (("", ""), *HELP, ("", ""), ("", "any key goes back")):
        table.add_row(Text(keys), Text(what))
    return table


def _lines(texts: list[Text]) -> Text:
    lines = Text("\n", no_wrap=True, overflow="crop").join(texts)
    lines.no_wrap, lines.overflow = True, "crop"
    return lines
