"""docs/tour.md, typed line by line at real terminals. The screens have to show the lines of the page.

In a block with two columns each column is a terminal, and the rows are in the order of time.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.namespaces import in_namespace
from tests.support.programs import need
from tests.support.sockets import has_ipv6
from tests.terminal import Terminal

PAGE = (Path(__file__).parents[1] / "docs" / "tour.md").read_text()
SECTIONS: dict[str, str] = dict(re.findall(r"(?ms)^## (.+?)\n(.*?)(?=^## |\Z)", PAGE))
[CONFIG] = re.findall(r"(?ms)^```yaml\n(.*?)^```$", PAGE)
COLORED = {("alex", "brown", "green"), ("bob", "white", "blue"), ("carol", "cyan", "default")}  # brown is yellow

SHELL, ENTER = "$ ", "⏎"
KEYS = {"^C": b"\x03", "^]": b"\x1d"}
WIDTH, HEIGHT = 110, 60

# Examples and omissions of the page, and the patterns that match the real output.
VARIES = {
    r"2026-\d\d-\d\d": r"\d{4}-\d\d-\d\d",
    r"14:\d\d:\d\d": r"\d\d:\d\d:\d\d",
    "1795528790": r"\d{10}",
    "40404": r"\d+",
    "…": ".+",
}


class Shell(Terminal):
    """A shell at a terminal, and the lines of the page that it has shown so far."""

    def __init__(self, directory: str) -> None:
        command = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
        super().__init__(command, WIDTH, HEIGHT, environment(directory), directory)
        os.close(self.terminal)  # so that reading ends with the shell
        self._shown: list[str] = []
        self._prompt = SHELL

    def follow(self, line: str) -> None:
        """Type a line of the page, or expect it as output."""
        if line.startswith(SHELL):
            self._answer(line.removeprefix(SHELL).encode() + b"\r", SHELL)
            name = re.search(r"netd talk .*--name (\w+)", line)
            self._prompt = f"{name[1]} : " if name else "> " if line.startswith("$ netd talk") else ""
        elif line.endswith(ENTER):
            line = line.removesuffix(ENTER)
            prompt = "telnet> " if line.startswith("telnet> ") else self._prompt
            self._answer(line.removeprefix(prompt).encode() + b"\r", prompt)
        elif line in KEYS:
            self._answer(KEYS[line], self._prompt)
        if line:  # as in `lines`
            self._shown.append(line)

    def _answer(self, keys: bytes, prompt: str) -> None:
        self.see(prompt)
        self.type(keys)

    def see(self, prompt: str | None) -> None:
        """Wait until the screen shows the lines of the page, followed by this prompt. None: by any prompt or none."""
        end = time.monotonic() + 20
        while not self._is_like(prompt):
            if time.monotonic() > end:
                raise AssertionError("\n".join([f"expected, and then {prompt!r}:", *self._shown, "got:", *self.lines]))
            self.read(0.05)

    def _is_like(self, prompt: str | None) -> bool:
        lines = self.lines
        seen = lines[: len(self._shown)]
        if len(seen) != len(self._shown) or not all(map(re.fullmatch, map(pattern, self._shown), seen)):
            return False
        rest = "".join(lines[len(self._shown) :])
        return prompt is None or (rest == prompt.rstrip() and self.screen.cursor.x == len(prompt))

    @property
    def lines(self) -> list[str]:
        """The lines of the screen that are not empty."""
        return [line for line in super().lines if line]

    def colored(self) -> set[tuple[str, str, str]]:
        """The coloured names before messages, each with its foreground and its background."""
        names = set()
        for row, line in self.screen.buffer.items():
            name, separator, _ = self.screen.display[row].partition(" : ")
            cells = [line[column] for column in range(len(name if separator else ""))]
            names |= {(name, cell.fg, cell.bg) for cell in cells if (cell.fg, cell.bg) != ("default", "default")}
        return names

    def close(self) -> None:
        os.close(self.primary)  # SIGHUP for the shell and its programs
        try:
            self.process.wait(20)
        finally:
            self.process.kill()


def pattern(line: str) -> str:
    """A pattern for a line of the page on any host at any time."""
    pieces = re.split(f"({'|'.join(VARIES)})", line)
    pieces[::2] = map(re.escape, pieces[::2])
    pieces[1::2] = (next(real for example, real in VARIES.items() if re.fullmatch(example, it)) for it in pieces[1::2])
    return "".join(pieces)


def blocks(section: str) -> Iterator[list[tuple[int, str]]]:
    """The console blocks of a section: for each line the number of its terminal."""
    for block in re.findall(r"(?ms)^```console\n(.*?)^```$", SECTIONS[section]):
        rows = block.splitlines()
        if not rows[0].startswith("# "):
            yield [(0, row) for row in rows if row]
        else:
            middle = rows[0].rindex("# ")
            assert all(row[middle - 2 : middle].isspace() for row in rows if len(row) > middle), rows[0]
            cells = ((number, cell) for row in rows[1:] for number, cell in enumerate((row[:middle], row[middle:])))
            yield [(number, cell.rstrip()) for number, cell in cells if cell.strip()]


def environment(directory: str) -> dict[str, str]:
    """The environment of a user with netd in PATH, and with a directory for the files of a running netd."""
    return {
        "HOME": directory,
        "LC_ALL": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PS1": SHELL,
        "RUNTIME_DIRECTORY": directory,
        "TERM": "xterm-256color",
        **{key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ},  # the netd of this checkout
    }


def here(text: str, directory: str) -> str:
    """A text of the page with shorter intervals, and with files in the directory of the test."""
    return text.replace("--every 10s", "--every 1s").replace("/tmp/", f"{directory}/")


def run_section(directory: str, section: str) -> None:
    """Type the lines of a section, and check the screens."""
    colored: set[tuple[str, str, str]] = set()
    for lines in blocks(section):
        terminals = [Shell(directory) for _ in range(1 + max(number for number, _ in lines))]
        try:
            for number, line in lines:
                for terminal in terminals:
                    terminal.see(None)
                terminals[number].follow(here(line, directory))
            for terminal in terminals:
                terminal.see(SHELL)
                colored |= terminal.colored()
        except AssertionError as error:
            raise AssertionError(f"in {section!r}: {error}") from None
        finally:
            for terminal in terminals:
                terminal.close()
    if "Coloured" in section:
        assert colored == COLORED


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_terminals_show_the_lines_of_the_tour() -> None:
    need("bash", "nc", "telnet")

    def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "tour.yaml").write_text(here(CONFIG, directory))
            try:
                for section in SECTIONS:
                    if section != "IPv6" or has_ipv6():
                        run_section(directory, section)
                if not has_ipv6():
                    pytest.skip("no IPv6 on this host; all other sections are as the tour shows them")
            finally:
                subprocess.run(
                    ["netd", "stop", "-c", f"{directory}/tour.yaml"],
                    env=environment(directory),
                    capture_output=True,
                    check=False,
                )

    in_namespace(run)


def test_tour_has_no_block_that_is_not_run() -> None:
    run = sum(1 for section in SECTIONS for _ in blocks(section))
    assert PAGE.count("```") == 2 * (run + 1)  # the config is one more block
    assert "\n$ " not in re.sub(r"(?ms)^```console\n.*?^```$", "", PAGE)
