"""Explains where a file stops being YAML: what stands there, and what may be meant, in the terms of a config.

libyaml reports the place where it could not continue, in terms of its grammar. The mistake often stands before it: a
bracket or a quote that is not closed, a space that is missing after a colon. So the text is searched for the mistakes
that are common; the words of libyaml are not used.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what libyaml takes for the end of a line
_KEY = r"[\w.-]+"
_GLUED = re.compile(rf"^\s*(?:- +)?({_KEY}):(?=[^\s:/])")  # key:value
_BARE = re.compile(rf"^\s*(?:- +)?({_KEY})(?:\s*$|\s+[\[{{\"'])")  # a key without its colon
_ITEM = re.compile(r"^\s*-(?=[^\s-])")  # -item
_INDENT_TAB = re.compile(r"^[ ]*\t")
_LONGEST_EXAMPLE = 60
_LONGEST_ESCAPE = 10  # \U and eight digits

_CLOSING = {"[": "]", "{": "}"}
_NAMES = {"*": "an alias", "&": "an anchor", "!": "a tag"}


class Fault(NamedTuple):
    """A mistake in the text: line and column from 1, a message, and a hint, which may be empty."""

    line: int
    column: int
    message: str
    hint: str = ""


def explain(error: yaml.MarkedYAMLError, text: str, loader: Any) -> Fault:
    """The mistake in ``text`` for which ``loader`` raised ``error``."""
    at = error.problem_mark or error.context_mark
    if at is None:
        return Fault(1, 1, "invalid YAML")
    start = error.context_mark or at
    return _Explainer(text, loader, (at.line, at.column), (start.line, start.column)).explain()


class _Explainer:
    """The text around an error; lines and columns count from 0."""

    def __init__(self, text: str, loader: Any, at: tuple[int, int], start: tuple[int, int]) -> None:
        self._text = text
        self._loader = loader
        self._lines = _BREAK.split(text)
        self._at = at
        """Where the parser could not continue."""
        self._start = start
        """Where the thing begins that it was parsing."""

    def explain(self) -> Fault:
        for look in (self._tab, self._sign, self._quote, self._brackets, self._colon, self._block):
            if fault := look():
                return fault
        return self._fault(self._at, "invalid YAML: no key, value or end of a value can stand here")

    def _fault(self, at: tuple[int, int], message: str, hint: str = "") -> Fault:
        # Behind the last line, the end of the text is shown where it has something to see.
        line, column = at
        while line > 0 and (line >= len(self._lines) or (line == len(self._lines) - 1 and not self._lines[line])):
            line, column = line - 1, len(self._lines[min(line - 1, len(self._lines) - 1)])
        return Fault(line + 1, column + 1, message, hint)

    def _line(self, number: int) -> str:
        return self._lines[number] if 0 <= number < len(self._lines) else ""

    def _rest(self, at: tuple[int, int]) -> str:
        return self._line(at[0])[at[1] :]

    @property
    def _ended(self) -> bool:
        """Whether the parser came to the end of the text."""
        return not self._rest(self._at).strip() and not any(line.strip() for line in self._lines[self._at[0] + 1 :])

    def _tab(self) -> Fault | None:
        line = self._line(self._at[0])
        tab = self._at[1] if self._rest(self._at).startswith("\t") else None
        if match := _INDENT_TAB.match(line):
            tab = match.end() - 1
        return None if tab is None else self._fault((self._at[0], tab), "a tab; YAML is indented with spaces")

    def _sign(self) -> Fault | None:
        """A value that begins with a character that YAML uses for something else."""
        for place in (self._at, self._start):
            rest = self._rest(place)
            sign = rest[:1]
            value = (re.match(r"[^\s,\]}]+", rest) or [""])[0][:_LONGEST_EXAMPLE]
            if sign == "%" and place[1] == 0:
                return self._fault(place, "a line that begins with % is a directive of YAML")
            if sign in ("@", "`", "%") and sign:
                return self._fault(place, f"a value cannot begin with {sign}", f'write it in quotes: "{value}"')
            if place == self._start and sign in _NAMES and sign:
                hint = f'write it in quotes: "{value}"'
                if re.fullmatch(r"\*:\d{1,5}", value):
                    hint = f'did you mean "tcp://{value}"?'
                return self._fault(place, f"{sign} begins {_NAMES[sign]} in YAML", hint)
        return None

    def _quote(self) -> Fault | None:
        """A quote that is not closed, or closed by the opening quote of a later value; an unknown escape in one."""
        quote = self._rest(self._start)[:1]
        if quote in ("'", '"') and quote:
            if self._ended or self._rest(self._at).startswith(("---", "...")):
                return self._fault(self._start, "this quote is not closed")
            escape = self._line(self._at[0]).rfind("\\", 0, self._at[1] + 1)
            if quote == '"' and escape >= 0 and self._at[1] - escape <= _LONGEST_ESCAPE:
                hint = r"in single quotes a \ stands for itself; in double quotes, \\"
                return self._fault((self._at[0], escape), "unknown escape sequence", hint)
        for token in self._tokens():
            if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"'):
                first, last = token.start_mark, token.end_mark
                if last.line > first.line and (last.line, last.column) == self._at:
                    return self._fault((first.line, first.column), "this quote is not closed in its line")
        return None

    def _tokens(self) -> Iterator[Any]:
        """The tokens before the error."""
        try:
            yield from yaml.scan(self._text, Loader=self._loader)
        except yaml.YAMLError:
            return

    def _brackets(self) -> Fault | None:
        """A mistake in a list in brackets or a mapping in braces, or a bracket that opens or closes none."""
        opened = []
        for token in self._tokens():
            if (token.start_mark.line, token.start_mark.column) >= self._at:
                break
            if isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken):
                opened.append((token.start_mark.line, token.start_mark.column))
            elif isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken) and opened:
                opened.pop()
        rest = self._rest(self._at)
        if not opened:
            if rest[:1] in ("]", "}") and not _GLUED.match(self._line(self._at[0])):
                return self._fault(self._at, f"nothing is opened that this {rest[0]} closes")
            return None
        begin = opened[-1]
        bracket = self._rest(begin)[0]
        # A plain value ends at a bracket, as that of an IPv6 address in a URL.
        line = self._line(self._at[0])
        for word in re.finditer(r"[^\s,\[\]{}\"']+\[[^\s,\[\]{}]*\][^\s,\[\]{}]*", line):
            if word.start() <= self._at[1] <= word.end():
                value = word[0][:_LONGEST_EXAMPLE]
                at = (self._at[0], word.start())
                return self._fault(at, f"in {_kind(bracket)}, a value with brackets needs quotes", f'write "{value}"')
        on_new_line = self._at[0] > begin[0] and re.match(rf"\s*(?:- +)?{_KEY}:(?:\s|$)", line)
        if self._ended or on_new_line:
            return self._fault(begin, f"this {bracket} is not closed")
        if rest[:1] == ",":
            return self._fault(self._at, "a value is missing before this comma")
        if rest[:1] == ":":
            return self._fault(self._at, "a colon within a value", "write the value in quotes")
        if rest[:1] in ("]", "}"):
            return self._fault(self._at, f"expected {_CLOSING[bracket]}, since {bracket} was opened last")
        return self._fault(self._at, "a comma is missing before this value")

    def _colon(self) -> Fault | None:
        """A key without a space after its colon, or without a colon; a colon within a value; a dash without a space.

        A plain value continues in the next line, so the parser fails there.
        """
        number = self._at[0]
        before = next((above for above in range(number - 1, -1, -1) if self._line(above).strip()), number)
        for one in dict.fromkeys((number, self._start[0], before)):
            line = self._line(one)
            if glued := _GLUED.match(line):
                return self._fault((one, glued.end(1)), f"a space is missing after '{glued[1][:40]}:'")
            if item := _ITEM.match(line):
                return self._fault((one, item.end() - 1), "a space is missing after '-'")
        head = self._line(number)[: self._at[1]]
        if self._rest(self._at).startswith(":") and re.search(r":\s", head):
            return self._fault(self._at, "a colon within a value", "write the value in quotes")
        for one in dict.fromkeys((self._start[0], before, number)):
            if bare := _BARE.match(self._line(one)):
                return self._fault((one, bare.end(1)), f"a colon is missing after '{bare[1][:40]}'")
        above = self._line(before)
        if self._rest(self._at).startswith(":") and before < number and not above.lstrip().startswith("#"):
            if not re.search(r":(\s|$)", above):
                return self._fault((before, _indent(above)), "no colon in this line, and the next one has a key")
            if _indent(head) > _indent(above):
                return self._misplaced((number, _indent(head)))
        return None

    def _misplaced(self, at: tuple[int, int]) -> Fault:
        message = f"this line is indented by {at[1]}, unlike those that it belongs to"
        return self._fault(at, message, "indent all keys of a section alike")

    def _block(self) -> Fault | None:
        """A line that is indented in another way than those around it, or text after a value in quotes."""
        line, rest = self._line(self._at[0]), self._rest(self._at)
        head = line[: self._at[1]]
        if re.search(r"[|>][-+\d]*$", head) or re.match(r"[|>]", self._rest(self._start)):
            return self._fault(self._at, "nothing but a comment can stand after | or >")
        if head.strip():
            if rest[:1] in (",", "?"):
                return self._fault(self._at, f"a value cannot begin with {rest[0]}", "write it in quotes")
            if re.match(r"- |-$", rest):
                return self._fault(self._at, "a list item after a key", "begin each item in a line of its own")
            closed = head.rstrip()[-1:]
            if closed in ("'", '"', "]", "}"):
                return self._fault(self._at, f"text after the closing {closed}")
            return None
        if rest.startswith("- "):
            return self._fault(self._at, "a list item where a key is expected", "indent all items of a list alike")
        return self._misplaced(self._at) if rest else None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _kind(bracket: str) -> str:
    return "a list in brackets" if bracket == "[" else "a mapping in braces"
