"""docs/from-xinetd.md says of each inetd what its importer does."""

import re

import pytest

from netd.importers.inetd.dialects import DIALECTS
from tests.source_tree import ROOT

PAGE = (ROOT / "docs" / "from-xinetd.md").read_text()
_QUOTES = {"none": "no", "whole": "whole words", "inside": "within words"}


@pytest.mark.parametrize("name", DIALECTS)
def test_the_table_of_dialects_says_what_each_does(name: str) -> None:
    dialect = DIALECTS[name]
    [row] = [one.split(" | ") for one in PAGE.splitlines() if re.match(rf"\|[^|]*`{name}`", one)]
    assert row[2] == ("both families" if dialect.protocols["tcp"] == "both" else "IPv4")
    mark = dialect.limits[:1]
    assert row[3].startswith(f"`nowait{mark}" if mark else "none")
    accounts = [f"`a{one}b" for one in dialect.accounts]
    assert [one.rstrip("`").partition("/")[0] for one in row[4].split(", ")] == accounts
    assert row[5].rstrip(" |") == f"{_QUOTES[dialect.quotes]}, {'yes' if dialect.continues else 'no'}"
