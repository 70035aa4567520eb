"""Every file in `samples/`: the config and the account that stand beside it, written by hand from what daemons do.

A line of an account is the line of the source, the outcome, and words that the reason has.
"""

import re
from pathlib import Path

import pytest

from netd.config import loader
from netd.config.problems import InvalidConfigError
from netd.importers.account import Account
from netd.importers.programs import note_drop_ins
from netd.importers.yaml_text import render
from tests.importers.xinetd.reading import Imported

SAMPLES = Path(__file__).parent / "samples"
_PLACE = re.compile(r"(\d+): (imported|note|not imported)(?:: (.*))?")
_MISSING = "does not exist|there is no (?:user|group)"


def copied(name: str, folder: Path) -> Path:
    """A copy of a sample that includes nothing of the host."""
    (folder / "xinetd.d").mkdir()
    (folder / name).write_text((SAMPLES / name).read_text().replace("/etc/xinetd.d\n", f"{folder}/xinetd.d\n"))
    return folder / name


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.xinetd")))
def test_import_of_xinetd_is_as_written_by_hand(name: str, tmp_path: Path) -> None:
    result = Imported(copied(name, tmp_path))
    expected = (SAMPLES / f"{name}.account").read_text().splitlines()
    found = [
        re.fullmatch(rf"{re.escape(name)}:(\d+: (?:imported|note|not imported)): (.*)", one) for one in result.lines
    ]
    assert [one[1] for one in found if one] == [
        match[1] + ": " + match[2] for match in map(_PLACE.fullmatch, expected) if match
    ]
    for line, wanted in zip(result.lines, expected, strict=True):
        match = _PLACE.fullmatch(wanted)
        assert match
        assert (match[3] or "") in line
    note_drop_ins(result.document, Account())
    text = render(result.document).replace(f"{tmp_path}/", "")
    assert text == (SAMPLES / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.yaml")))
def test_config_of_an_import_passes_the_check_but_for_what_this_host_does_not_have(name: str) -> None:
    try:
        loader.load(SAMPLES / name)
    except InvalidConfigError as error:
        assert [str(one) for one in error.found if not re.search(_MISSING, str(one))] == []
