"""The files of units."""

from pathlib import Path

import pytest

from netd.errors import ConfigError
from netd.importers.systemd.files import UnitFiles


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    for name in ("etc", "lib"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.socket").write_text(f"[Socket]\nListenStream=/{name}\n")
    return tmp_path / "etc"


def test_the_first_directory_wins_and_drop_ins_of_all_are_read(etc: Path) -> None:
    lib = etc.parent / "lib"
    for place, text in ((etc, "Accept=yes"), (lib, "Backlog=5")):
        (place / "a.socket.d").mkdir()
        (place / "a.socket.d" / f"{place.name}.conf").write_text(f"[Socket]\n{text}\n")
    unit, directories = UnitFiles((str(etc), str(lib))).socket("a.socket")
    assert [one.value for one in unit.directives] == ["/etc", "yes", "5"]
    assert directories == (str(etc), str(lib))


def test_a_path_has_its_own_directory_first(etc: Path) -> None:
    unit, directories = UnitFiles((str(etc),)).socket(f"{etc.parent}/lib/a.socket")
    assert [one.value for one in unit.directives] == ["/lib"]
    assert directories == (f"{etc.parent}/lib", str(etc))


def test_a_masked_unit_is_refused(etc: Path) -> None:
    (etc / "b.socket").symlink_to("/dev/null")
    with pytest.raises(ConfigError, match=r"b\.socket: the unit is masked"):
        UnitFiles((str(etc),)).socket("b.socket")


def test_a_unit_has_a_bounded_number_of_assignments(etc: Path) -> None:
    (etc / "a.socket").write_text("[Socket]\n" + "Accept=yes\n" * 2001)
    with pytest.raises(ConfigError, match="more than 2000 assignments"):
        UnitFiles((str(etc),)).socket("a.socket")


def test_names_that_lead_elsewhere_are_no_units(etc: Path) -> None:
    files = UnitFiles((str(etc),))
    assert files.unit("../lib/a.socket", (str(etc),)) is None
    assert files.unit("a\0.socket", (str(etc),)) is None


def test_drop_ins_of_prefixes_and_of_all_sockets_are_read(etc: Path) -> None:
    lib = etc.parent / "lib"
    (etc / "a-b.socket").write_text("[Socket]\nListenStream=/own\n")
    for place, name, value in (
        (etc, "socket.d/1.conf", "1"),
        (lib, "a-.socket.d/1.conf", "2"),  # more specific, so it wins whatever its place
        (lib, "a-b.socket.d/2.conf", "3"),
        (etc, "a-.socket.d/2.conf", "4"),  # /etc wins over /lib
        (etc, "socket.d/3.conf", "5"),
        (etc, "b-.socket.d/4.conf", "6"),
    ):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(f"[Socket]\nBacklog={value}\n")
    unit, _ = UnitFiles((str(etc), str(lib))).socket("a-b.socket")
    assert [one.value for one in unit.directives] == ["/own", "2", "4", "5"]
