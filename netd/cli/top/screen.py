"""The layout of `netd top`: a view as text of rich, for a screen of a given size."""

from rich.cells import set_cell_size
from rich.layout import Layout
from rich.text import Text

from netd.cli.columns import NUMBERS, Answer, Row, daemon_lines, reasons
from netd.cli.top.rates import readable_number, readable_rate, sparkline
from netd.cli.top.view import HELP, View
from netd.text import printable, shortened

# Left to right. A narrow screen omits columns in the order of `_OMITTED_FIRST`; the lines below the table show
# everything about the selected service.
_SERVICE_HEADS = ("SERVICE", "ENDPOINT", "RATE", "OCTETS/S", "GRAPH", *NUMBERS, "STATE")
_PEER_HEADS = ("PEER", "OPEN", "IN", "OUT")
_OMITTED_FIRST = ("ENDPOINT", "REQUESTS", "GRAPH", "DROPPED", "FAILED", "REFUSED", "OPEN", "OCTETS/S", "STATE")
_TEXTS = ("SERVICE", "ENDPOINT", "PEER", "GRAPH", "STATE")
_WIDEST = {"SERVICE": 24, "ENDPOINT": 44}
_GRAPH = 10  # columns: a narrower graph is of no use
_TOTAL = 60  # columns of the graph of all services together, at most
_GAP = 2
_KEYS = "q quit  s sort  r reverse  p pause  e/d enable/disable  tab peers  ? help"


class Screen:
    """Draws a view. ``blocks``: whether the terminal shows block characters, and not ASCII alone."""

    def __init__(self, view: View, *, blocks: bool) -> None:
        self._view = view
        self._blocks = blocks

    def draw(self, width: int, height: int) -> Layout:
        """The whole screen."""
        view = self._view
        about = daemon_lines(view.answer) if height >= 10 else []
        head = [*about, self._peers_line() if view.shows_peers else self._totals_line(width)]
        foot = _details(view) if height >= 15 else []
        texts = [self._text(line) for line in (*head, *foot)]
        if height >= 10:
            texts[0].stylize("bold")
        for problem in texts[2 : len(about)]:
            problem.stylize("bold red")
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
        """Literal text: no markup of rich in it has an effect."""
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
            f"{readable_rate(total[-1] if total else None)} requests/s"
        )
        columns = min(_TOTAL, width - len(text) - _GAP)
        if columns < _GRAPH:
            return text
        return text + " " * _GAP + sparkline(total, columns, blocks=self._blocks).lstrip()

    def _peers_line(self) -> str:
        view = self._view
        service = f"of {printable(view.peers_of)}" if view.peers_of else "of all services"
        if view.peers is None:
            return f"peers {service}"
        total, shown = view.peers["total"], sum(peer["connections"] for peer in view.peers["peers"])
        text = f"peers {service}: {total} connection{'s' * (total != 1)}"
        more = f", {shown} of them from the {len(view.peers['peers'])} peers with most"
        return text if shown == total else text + more

    def _last_line(self, width: int) -> Text:
        view = self._view
        if view.disabling is not None:
            question = f"disable {view.disabling} (y/n)? Its live connections have limits.drain to finish"
            text, style = question, "bold"
        elif view.trouble:
            text, style = printable(view.trouble), "bold red"
        elif view.message:
            text, style = printable(view.message), "bold"
        elif view.paused:
            text, style = "PAUSED: p resumes", "bold yellow"
        else:
            text, style = _KEYS, ""
        line = self._text(text.ljust(width))
        line.stylize(f"reverse {style}".strip())
        return line

    # The table.

    def _table(self, width: int, page: int) -> Text:
        view = self._view
        rows, selected = view.window(view.rows(), page)
        cells = [{head: _cell(head, value) for head, value in row.items()} for row in rows]
        widths = _fit(_PEER_HEADS if view.shows_peers else _SERVICE_HEADS, cells, width)
        lines = [self._row({head: head for head in widths}, widths, "reverse green", view.sort)]
        for number, (row, texts) in enumerate(zip(rows, cells, strict=True)):
            if "GRAPH" in widths:
                series = view.rates.series.get(row["SERVICE"], ())
                texts["GRAPH"] = sparkline(list(series), widths["GRAPH"], blocks=self._blocks)
            lines.append(self._row(texts, widths, "reverse cyan" if number == selected else _style(row)))
        return _lines(lines)

    def _row(self, texts: dict[str, str], widths: dict[str, int], style: str, marked: str = "") -> Text:
        line = Text(style=style)
        for head, width in widths.items():
            line.append(" " * _GAP if line else "")
            text = self._text(texts[head]).plain
            if self._blocks and head != "GRAPH":
                text = shortened(text, width)
            cell = set_cell_size(text, width) if head in _TEXTS else text.rjust(width)
            line.append(cell, "bold underline" if head == marked else None)
        return line


def _fit(heads: tuple[str, ...], cells: list[dict[str, str]], width: int) -> dict[str, int]:
    """The columns that fit, and their widths: those of their cells, and one column gets the rest of the screen."""
    widths = {}
    for head in heads:
        natural = max([len(head), *(len(row.get(head, "")) for row in cells)])
        # At least 6 for numbers, so that columns do not become wider as the numbers grow.
        widths[head] = min(natural, _WIDEST.get(head, width)) if head in _TEXTS else max(natural, 6)
    if "GRAPH" in widths:
        widths["GRAPH"] = _GRAPH
    for head in _OMITTED_FIRST:
        if _left(widths, width) >= 0:
            break
        widths.pop(head, None)
    grows = "GRAPH" if "GRAPH" in widths else heads[0]
    widths[grows] += max(0, _left(widths, width))
    return widths


def _left(widths: dict[str, int], width: int) -> int:
    return width - sum(widths.values()) - _GAP * (len(widths) - 1)


def _cell(head: str, value: object) -> str:
    if isinstance(value, list):
        more = f" +{len(value) - 1}" if len(value) > 1 else ""
        return value[0] + more if value else "-"
    if head in ("RATE", "OCTETS/S"):
        assert value is None or isinstance(value, float)
        return readable_rate(value)
    if isinstance(value, int):
        return readable_number(value)
    return str(value)


def _style(row: Row) -> str:
    if row.get("STATE") == "off":
        return "dim"
    return "red" if row.get("FAILED") or row.get("STATE") == "failing" else ""


def _details(view: View) -> list[str]:
    """Two lines about the selected service: what its row has no space for."""
    service = view.selected()
    if service is None:
        return ["", ""]
    why = f" ({service['why']})" if service["why"] else ""
    endpoints = " ".join(printable(url) for url in service["endpoints"])
    counters: Answer = service["counters"]
    facts = [f"{readable_number(counters[f'{way}_bytes'])} octets {way}" for way in ("received", "sent")]
    facts += reasons(service, view.answer)
    if checks := counters["connections_checks"]:
        facts.append(f"checks: {checks}")
    state = "on" if service["enabled"] else "off"
    kind = f" ({service['type']})" if service["type"] != service["service"] else ""
    return [f"{service['service']}{kind} {state}{why}: {endpoints}", "; ".join(facts)]


def _help() -> Text:
    widest = max(len(keys) for keys, _ in HELP)
    rows = [("", ""), *HELP, ("", ""), ("", "any key closes this help")]
    return _lines([Text(f"{keys:{widest}}  {what}") for keys, what in rows])


def _lines(texts: list[Text]) -> Text:
    lines = Text("\n", no_wrap=True, overflow="crop").join(texts)
    lines.no_wrap, lines.overflow = True, "crop"
    return lines
