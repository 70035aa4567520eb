"""docs/security.md: the tests that it names exist, and its figures are those of the code."""

import ast
import re
from functools import cache

import pytest

from netd.admission import bans, reply_guard
from netd.admission.bans import BanRules
from netd.admission.limits import Limits
from netd.config.model import DaemonSection
from netd.daemon.supervisor.control import LINE_LIMIT
from netd.transport.stream.tls_handshake import MOST_UNDER_WAY
from netd.values import duration_text
from tests.source_tree import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", PAGE)))
LIMITS, BANS = Limits(), BanRules()


@cache
def defined_in(file: str) -> set[str]:
    nodes = ast.parse((ROOT / file).read_text()).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("name", "file"), NAMED, ids=[name for name, _ in NAMED])
def test_named_test_exists(name: str, file: str) -> None:
    assert name in defined_in(file)


def row(key: str) -> str:
    """The bound that the page has for a key, or for what a row begins with."""
    [bound] = re.findall(rf"(?m)^\| (?:[^|]*) \| ([^|]*) \| `{key}` \|", PAGE)
    return str(bound)


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("limits.connections", f"{LIMITS.connections}"),
        ("daemon.connections", f"{DaemonSection().connections}"),
        ("limits.per_source", f"{LIMITS.per_source}"),
        ("limits.idle", f"{LIMITS.idle / 60:.0f} m" if LIMITS.idle else "off"),
        ("limits.line", f"{LIMITS.line} octets"),
    ],
)
def test_bound_is_the_default(key: str, default: str) -> None:
    assert row(key) == default


def test_rate_and_bans_are_the_defaults() -> None:
    assert LIMITS.rate
    assert row("limits.rate") == f"{LIMITS.rate.number} a second, {LIMITS.rate.burst} at once"
    assert BANS.threshold
    assert row("bans").startswith(f"{BANS.threshold.number} a minute;")
    assert (duration_text(BANS.duration), duration_text(BANS.max_duration)) == ("1m", "1h")
    assert f"| bans at a time | {bans.MOST};" in PAGE
    assert f"| {MOST_UNDER_WAY}, ten seconds each" in PAGE
    assert f"lines of {LINE_LIMIT} octets" in PAGE


def test_amplification_is_that_of_the_longest_answer_to_an_empty_question() -> None:
    headers, longest = 20 + 8, reply_guard._SMALL  # IPv4 and UDP
    assert f"{headers} octets with the headers" in PAGE
    assert f"at most {headers + longest} octets as its answer: a factor of {(headers + longest) / headers:.1f}" in PAGE


def test_every_row_about_what_holds_names_its_test() -> None:
    tables = [table.splitlines() for table in re.findall(r"(?m)(?:^\|.*\n)+", PAGE)]
    rows = [row for heading, _, *rows in tables if heading.endswith("| shown by |") for row in rows]
    assert len(rows) > 40
    assert [row for row in rows if "](../tests/" not in row] == []
