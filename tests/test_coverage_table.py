"""The table of `make coverage`."""

from typing import Any

from tests.coverage_table import table


def file(statements: int, covered: int, branches: int = 0, taken: int = 0) -> dict[str, Any]:
    return {
        "summary": {
            "num_statements": statements,
            "covered_lines": covered,
            "missing_lines": statements - covered,
            "num_branches": branches,
            "covered_branches": taken,
            "missing_branches": branches - taken,
            "percent_covered": 1.5,
            "percent_covered_display": "2",
        }
    }


def test_packages_are_summed_and_the_files_with_the_least_come_first() -> None:
    rows = table({"netd/a/one.py": file(10, 9, 10, 7), "netd/a/two.py": file(10, 4), "netd/b.py": file(0, 0)})
    assert [line.split() for line in rows.splitlines()] == [
        ["PACKAGE", "lines", "missing", "branches", "missing", "covered"],
        ["netd", "0", "0", "0", "0", "100.0%"],
        ["netd/a", "20", "7", "10", "3", "66.7%"],
        ["all", "20", "7", "10", "3", "66.7%"],
        [],
        ["FILES", "WITH", "THE", "LEAST", "lines", "missing", "branches", "missing", "covered"],
        ["netd/a/two.py", "10", "6", "0", "0", "40.0%"],
        ["netd/a/one.py", "10", "1", "10", "3", "80.0%"],
        ["netd/b.py", "0", "0", "0", "0", "100.0%"],
    ]
