"""What `make coverage` prints, from the JSON of coverage.py: each package of netd, and the files with the least."""

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path, PurePath
from typing import Any

_LEAST = 20  # files to print
_COLUMNS = ("num_statements", "missing_lines", "num_branches", "missing_branches")
_COUNTED = (*_COLUMNS, "covered_lines", "covered_branches")
_HEADING = ("lines", "missing", "branches", "missing", "covered")


def _percent(counts: "Counter[str]") -> float:
    """How much of the statements and branches has run."""
    of = counts["num_statements"] + counts["num_branches"]
    return 100 * (counts["covered_lines"] + counts["covered_branches"]) / of if of else 100.0


def _row(name: str, counts: "Counter[str]") -> str:
    return f"{name:40}" + "".join(f"{counts[column]:9}" for column in _COLUMNS) + f"{_percent(counts):8.1f}%"


def table(files: dict[str, Any]) -> str:
    """The coverage of each package, of all, and of the files with the least; ``files`` is as in coverage's JSON."""
    packages: defaultdict[str, Counter[str]] = defaultdict(Counter)
    single = {name: Counter({key: file["summary"][key] for key in _COUNTED}) for name, file in files.items()}
    for name, counts in single.items():
        packages[str(PurePath(name).parent)].update(counts)
    least = sorted(single, key=lambda name: _percent(single[name]))[:_LEAST]
    heading = "".join(f"{word:>9}" for word in _HEADING)
    return "\n".join(
        [
            f"{'PACKAGE':40}{heading}",
            *(_row(name, packages[name]) for name in sorted(packages)),
            _row("all", sum(packages.values(), Counter())),
            "",
            f"{'FILES WITH THE LEAST':40}{heading}",
            *(_row(name, single[name]) for name in least),
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(table(json.loads(Path(sys.argv[1]).read_text())["files"]))
