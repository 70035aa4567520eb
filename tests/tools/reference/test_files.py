"""The reference and the man pages say what the sources say."""

import pytest

from netd.admission.limits import Limits
from tests.source_tree import ROOT
from tools.reference.files import DIRECTORIES, files


def test_files_are_up_to_date() -> None:
    made = files()
    outdated = [name for name, text in made.items() if not (ROOT / name).is_file() or (ROOT / name).read_text() != text]
    assert outdated == [], "run make docs"
    found = {str(file.relative_to(ROOT)) for directory in DIRECTORIES for file in (ROOT / directory).iterdir()}
    assert found == made.keys()


def test_a_changed_docstring_makes_files_outdated(monkeypatch: pytest.MonkeyPatch) -> None:
    before = files()
    monkeypatch.setattr(Limits.model_fields["idle"], "description", "Closes a connection that is idle.")
    after = files()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"docs/reference/config.md", "man/netd.yaml.5"}
    assert all("Closes a connection that is idle." in after[name] for name in changed)
