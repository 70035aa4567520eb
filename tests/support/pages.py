"""The blocks of the pages of the project, and the commands in them."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.source_tree import ROOT

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(file.relative_to(ROOT)) for file in (ROOT / "docs").rglob("*.md"))]
"""The pages, by their paths."""
MAN_PAGES = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "man").iterdir())
"""The man pages, by their paths. They have the examples of `netd COMMAND --help`, and more."""
REQUESTS = "docs/reference/control.md"
"""The page with requests of the control socket, which are no commands of a shell."""
_PROMPT = re.compile(r"(?:^| {4,})\$ (.+?)(?= {4,}\S|$)")
_HERE = re.compile(r"<<'?(\w+)'?")
_ESCAPED = {"&": "", "-": "-", "e": "\\", "(aq": "'", "(ga": "`", "(ha": "^", "(ti": "~"}
"""What stands for these escapes in the code of a man page (groff_char(7))."""
_COMMENT = re.compile(r"\s+# .*$")


class Block(NamedTuple):
    """A block of a page that is not prose."""

    page: str
    line: int
    """The number of its first line."""
    language: str
    """Of a fenced block; empty for one that is indented."""
    lines: tuple[str, ...]


class Command(NamedTuple):
    """A command that a page shows, which may have several lines."""

    page: str
    line: int
    text: str
    """Without the comment behind it."""
    shown: tuple[str, ...]
    """The lines below it, up to the next command: its output."""


def blocks(page: str) -> Iterator[Block]:
    """The fenced and the indented blocks of a page, without their indentation; those of a man page."""
    return (_of_man_page if page in MAN_PAGES else _of_markdown)(page, (ROOT / page).read_text())


def _of_man_page(page: str, text: str) -> Iterator[Block]:
    for found in re.finditer(r"(?ms)^\.EX\n(.*?)\n\.EE$", text):
        code = re.sub(r"\\(\(..|.)", lambda escape: _ESCAPED[escape[1]], found[1])
        yield Block(page, text.count("\n", 0, found.start(1)) + 1, "", tuple(code.split("\n")))


def _of_markdown(page: str, text: str) -> Iterator[Block]:
    language: str | None = None
    found: list[str] = []
    start = 0
    before = ""
    for number, line in enumerate([*text.splitlines(), "", "end"], 1):
        fence = re.match(r"```(\w*)", line)
        if language is not None:  # within a fence
            if fence:
                yield Block(page, start, language, tuple(found))
                language, found = None, []
            else:
                found.append(line)
            continue
        if line.startswith("    ") and (found or not before) and not line.lstrip().startswith("- "):
            start = start if found else number
            found.append(line[4:])
        elif not line and found:
            found.append(line)  # it may go on
        else:
            if found:
                yield Block(page, start, "", tuple("\n".join(found).rstrip("\n").split("\n")))
            found = []
            if fence:
                language, start = fence[1], number + 1
        before = line


def is_console(block: Block) -> bool:
    """Whether a block shows commands behind a prompt, with what they print."""
    return any(_PROMPT.search(line) for line in block.lines) and block.language in ("", "console")


def commands(block: Block) -> list[Command]:
    """The commands of a block: behind prompts, or, without one, each line if some begin with one of `PROGRAMS`."""
    lines = list(enumerate(block.lines, block.line))
    prompts = is_console(block)
    if not prompts and not _are_commands([line for _, line in lines]):
        return []
    found: list[Command] = []
    shown: list[str] = []
    while lines:
        number, line = lines.pop(0)
        typed = _PROMPT.findall(line) if prompts else [line] if line else []
        if not typed:
            shown.append(line)
        for text in typed:
            shown = []
            rest = _rest(text, lines)
            found.append(Command(block.page, number, "\n".join([_COMMENT.sub("", text), *rest]), ()))
        if found:
            found[-1] = found[-1]._replace(shown=tuple(shown))
    return found


def _rest(first: str, lines: list[tuple[int, str]]) -> list[str]:
    """The further lines of a command, which are taken: a here-document, or what follows a backslash."""
    rest: list[str] = []
    if here := _HERE.search(first):
        while lines and (not rest or rest[-1] != here[1]):
            rest.append(lines.pop(0)[1])
    while lines and (rest[-1] if rest else first).endswith("\\"):
        rest.append(lines.pop(0)[1])
    return rest


def _are_commands(lines: list[str]) -> bool:
    if any("──" in line for line in lines):
        return False  # a picture
    words = [(line.split() or [""])[0] for line in lines if not line.startswith((" ", "#"))]
    return any(word in PROGRAMS for word in words)


_OF_HOSTS = [
    "curl",
    "echo",
    "grep",
    "journalctl",
    "jq",
    "lnav",
    "make",
    "python",
    "sudo",
    "systemctl",
    "systemd-analyze",
]
_OF_OTHERS = [
    "certbot",
    "check_http",
    "check_tcp",
    "check_time",
    "check_udp",
    "docker",
    "fail2ban-client",
    "podman",
    "promtool",
]
PROGRAMS = frozenset(["netd", *_OF_HOSTS, *_OF_OTHERS])
"""What the lines of a block without prompts begin with, where they are commands."""


def all_commands(page: str) -> list[Command]:
    """The commands that a page shows, in their order."""
    return [command for block in blocks(page) for command in commands(block)]


class Elsewhere(NamedTuple):
    """Commands of a page that `tests/test_commands.py` does not type."""

    page: str
    pattern: str
    """Of the whole command."""
    where: str
    """The test that runs them, or, if it begins with a word, why no test does."""


_LAB = "tests/systemd/test_pages.py"
ELSEWHERE = (
    Elsewhere("docs/tour.md", r".*", "tests/test_tour.py"),
    Elsewhere(
        "docs/from-xinetd.md", r"netd import xinetd .*|cat .*|netd check .* 2>/dev/null", "tests/test_from_xinetd.py"
    ),
    Elsewhere(
        "docs/from-xinetd.md",
        r"(systemctl|install|nc|netd (check|explain)) .*|netd status",
        "tests/packaging/test_fresh_hosts.py",
    ),
    Elsewhere("docs/benchmarks.md", r".*", "tests/bench/test_measure.py"),
    Elsewhere("docs/operating.md", r"check_.*", "tests/test_operating.py"),
    Elsewhere("docs/operating.md", r"make deb|apt .*", "tests/packaging/test_fresh_hosts.py"),
    Elsewhere("docs/operating.md", r"(docker|podman) .*", "tests/packaging/test_containerfile.py"),
    Elsewhere("docs/operating.md", r"promtool .*", "tests/deploy/test_prometheus.py"),
    Elsewhere("docs/programs.md", r"(curl|check_http) .*", "tests/test_recipes.py"),
    Elsewhere("README.md", r"(sudo )?make (un)?install|sudo .* make uninstall", "tests/packaging/test_install.py"),
    Elsewhere("README.md", r"make run", "tests/packaging/test_fresh_hosts.py"),
    Elsewhere("README.md", r"netd top", "tests/cli/top/test_top.py"),
    Elsewhere("man/netd.8", r"netd top .*", "tests/cli/top/test_top.py"),
    Elsewhere("README.md", r"(?s)(sudo )?systemctl .*|sed -i .*|netd check && systemctl .*|.* localhost 7", _LAB),
    Elsewhere("docs/operating.md", r"systemctl .*|systemd-analyze .*|journalctl .*", _LAB),
    Elsewhere("docs/operating.md", r"fail2ban-client .*", "tests/test_contrib.py"),
    Elsewhere("docs/logging.md", r"journalctl .*", _LAB),
    Elsewhere("docs/logging.md", r"(jq|grep|lnav) .*", "tests/test_contrib.py"),
    Elsewhere("docs/probe.md", r"netd probe tls://.*", "tests/cli/test_tls_options.py"),
    Elsewhere("docs/tls.md", r"certbot .*|ch(mod|grp) .*", "tests/systemd/test_certbot.py"),
    Elsewhere("docs/writing-services.md", r"netd check -c netd.yaml", "tests/config/test_code.py"),
)
"""Where the commands are run that `tests/test_commands.py` does not type, or why they are not."""


def elsewhere(command: Command) -> Elsewhere | None:
    """What is said of a command in `ELSEWHERE`; None: `tests/test_commands.py` types it."""
    return next(
        (one for one in ELSEWHERE if one.page == command.page and re.fullmatch(one.pattern, command.text)), None
    )
