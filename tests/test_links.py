"""Links between the pages lead to files and titles that exist."""

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.source_tree import ROOT
from tools.reference.markdown import anchor

PAGES = sorted(
    file for part in ("*.md", "docs/**/*.md", "deploy/**/*.md", "bench/results/*.md") for file in ROOT.glob(part)
)
_CODE = re.compile(r"(?ms)^```.*?^```$|^    .*?$|`[^`\n]*`")
_LINK = re.compile(r"\]\(([^()\s]+)\)")


def titles(page: Path) -> list[str]:
    """The anchors of the titles of a page."""
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())
    return [anchor(title) for title in re.findall(r"(?m)^#+ (.*)$", text)]


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in _LINK.findall(_CODE.sub("", page.read_text())):
        if re.match(r"https?:", link):
            continue
        name, _, title = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (title and title not in titles(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


@pytest.mark.parametrize("page", [page for page in PAGES if "reference" in page.parts], ids=lambda page: page.name)
def test_titles_of_a_reference_page_differ(page: Path) -> None:
    assert [title for title, number in Counter(titles(page)).items() if number > 1] == []


def test_pages_that_files_name_exist() -> None:
    parts = ("netd/**/*.py", "config/*", "systemd/**/*", "contrib/**/*", "deploy/**/*", "packaging/**/*", "Makefile")
    files = [file for part in parts for file in ROOT.glob(part) if file.is_file()]
    named = {(file, name) for file in files for name in re.findall(r"\bdocs/[\w/-]+\.md\b", file.read_text())}
    assert named
    assert [f"{file}: {name}" for file, name in named if not (ROOT / name).is_file()] == []


def test_the_test_of_links_sees_a_broken_one(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A `title`, with marks\n")
    (tmp_path / "page.md").write_text(
        "# Page\n[a](other.md) [b](other.md#a-title-with-marks) [c](#page) [d](none.md) [e](other.md#none)\n`[f](none)`"
    )
    assert broken(tmp_path / "page.md") == ["none.md", "other.md#none"]
