"""Programs on this host: the file, its interpreter, and which users may execute and write them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.config.executables import User, command_faults, directory_fault, place
from tests.support.directories import open_directory
from tests.support.programs import need_root
from tests.support.users import ALEX, MALLORY, as_user

ROOT = User(0)
OWN = User(os.geteuid(), frozenset((os.getegid(), *os.getgroups())))
OTHER = User(ALEX, frozenset((ALEX,)))


@pytest.fixture
def directory() -> Iterator[Path]:
    with open_directory() as made:
        yield made


def script(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def faults(path: str, user: User = OWN, root: str = "/", *, guarded: bool = False) -> list[str]:
    """The messages, with a mark before notices."""
    return ["? " * one.is_notice + one.message for one in command_faults(root, path, user, guarded=guarded)]


@pytest.mark.parametrize("path", ["/bin/sh", "/usr/bin/env"])
def test_program_of_the_host_has_no_fault(path: str) -> None:
    assert faults(path) == faults(path, OTHER) == faults(path, ROOT) == []


def test_script_has_no_fault(directory: Path) -> None:
    assert faults(script(directory / "one")) == []
    assert faults(script(directory / "two", f"#! \t{directory}/one -x")) == []
    (directory / "link").symlink_to("two")
    assert faults(f"{directory}/link") == []


def test_file_that_is_no_program_is_a_problem(directory: Path) -> None:
    (directory / "plain").write_text("x")
    os.mkfifo(directory / "fifo", 0o777)
    (directory / "circle").symlink_to("circle")
    assert faults(f"{directory}/none") == [f"the program {directory}/none does not exist"]
    assert faults(f"{directory}/plain/x") == [f"the program {directory}/plain/x does not exist"]
    assert faults(f"{directory}") == [f"the program {directory} is a directory"]
    assert faults(f"{directory}/fifo") == [f"the program {directory}/fifo is no regular file"]
    assert faults(f"{directory}/plain") == [f"the program {directory}/plain is not executable"]
    assert "Too many levels of symbolic links" in faults(f"{directory}/circle")[0]


def test_interpreter_that_cannot_be_executed_is_a_problem(directory: Path) -> None:
    missing = script(directory / "one", f"#!{directory}/none -x\n")
    assert faults(missing) == [f"the interpreter {directory}/none of {directory}/one does not exist"]
    [fault] = command_faults("/", script(directory / "two", "#!/bin/sh\r\n:\r\n"), OWN, guarded=False)
    assert (fault.message, fault.hint) == (
        rf"the interpreter /bin/sh\r of {directory}/two does not exist",
        "that file has CR LF at its line ends",
    )
    assert faults(script(directory / "three", "#!sh\n")) == [
        f"the interpreter sh of {directory}/three is no absolute path"
    ]


@pytest.mark.parametrize("text", ["", "echo\n", "#!", "#!\n", "#! \n/bin/sh", "MZ"])
def test_file_without_interpreter_is_a_notice(directory: Path, text: str) -> None:
    path = script(directory / "x", text)
    assert faults(path) == [f"? the program {path} has no line #!, and is no ELF file"]


def test_missing_right_of_the_user_is_a_notice(directory: Path) -> None:
    need_root()
    path = script(directory / "x", mode=0o744)
    assert faults(path, OTHER) == [f"? the program {path}: user uid={ALEX} may not execute it"]
    assert faults(path, ROOT) == []
    path = script(directory / "x", mode=0o711)
    assert faults(path, OTHER) == [f"? user uid={ALEX} may not read the script {path}"]
    os.chown(path, ALEX, 0)
    assert faults(path, OTHER) == []
    os.chown(path, 0, MALLORY)
    assert faults(path, User(ALEX, frozenset({ALEX, MALLORY}))) == [f"? user uid={ALEX} may not read the script {path}"]
    os.chmod(path, 0o754)
    assert faults(path, User(ALEX, frozenset({ALEX, MALLORY}))) == []
    (directory / "closed").mkdir(0o700)
    path = script(directory / "closed" / "x")
    assert faults(path, OTHER) == [f"? the program {path}: user uid={ALEX} may not enter {directory}/closed"]


def test_program_that_users_may_write_is_a_notice(directory: Path) -> None:
    need_root()
    path = script(directory / "x")
    assert faults(path, OTHER, guarded=True) == faults(path, ROOT, guarded=True) == []
    begin = f"? the program {path} can be changed:"
    os.chmod(path, 0o777)
    assert faults(path, OTHER) == []
    assert faults(path, OTHER, guarded=True) == [f"{begin} every user may write {path}"]
    os.chmod(path, 0o775)
    os.chown(path, 0, ALEX)
    assert faults(path, OTHER, guarded=True) == faults(path, ROOT, guarded=True)
    assert faults(path, OTHER, guarded=True) == [f"{begin} group {ALEX} may write {path}"]
    assert faults(path, User(MALLORY), guarded=True) == []
    os.chown(path, ALEX, 0)
    assert faults(path, OTHER, guarded=True) == [f"{begin} user uid={ALEX}, which it runs as, may write {path}"]
    assert faults(path, ROOT, guarded=True) == [f"{begin} user uid={ALEX} may write {path}"]
    assert faults(path, User(MALLORY), guarded=True) == []


def test_directory_or_interpreter_that_users_may_write_is_a_notice(directory: Path) -> None:
    need_root()
    (directory / "open").mkdir()
    (directory / "open").chmod(0o777)
    path = script(directory / "open" / "x")
    assert faults(path, OTHER, guarded=True) == [
        f"? the program {path} can be changed: every user may write {directory}/open"
    ]
    (directory / "open").chmod(0o1777)
    assert faults(path, OTHER, guarded=True) == []
    interpreter = script(directory / "interpreter", mode=0o777)
    path = script(directory / "x", f"#!{interpreter}\n")
    assert faults(path, OTHER, guarded=True) == [
        f"? the interpreter {interpreter} of {path} can be changed: every user may write {interpreter}"
    ]


def test_file_that_this_process_may_not_see_has_no_fault(directory: Path) -> None:
    need_root()
    (directory / "closed").mkdir(0o700)
    path = script(directory / "x", mode=0o711)

    def unseen() -> None:
        assert faults(f"{directory}/closed/none", OTHER) == []
        assert directory_fault("/", f"{directory}/closed/none") == ""
        assert faults(path, OTHER) == []

    as_user(ALEX, unseen)


def test_path_in_a_root_directory_is_found_as_a_process_there_finds_it(directory: Path) -> None:
    root = directory / "root"
    (root / "bin").mkdir(parents=True)
    program = script(root / "bin" / "x")
    for name, target in (("absolute", "/bin/x"), ("relative", "bin/../bin/x"), ("above", "../../../../bin/x")):
        (root / name).symlink_to(target)
        assert place(str(root), f"/{name}") == program
    (root / "circle").symlink_to("/circle")
    with pytest.raises(OSError, match="symbolic links"):
        place(str(root), "/circle")
    assert place(str(root), "/../..//./bin/x") == program
    assert place("/", "/x/../y") == "/x/../y"
    assert faults("/absolute", root=str(root)) == [
        f"the interpreter /bin/sh of {program} does not exist in the root directory {root}"
    ]
    script(root / "bin" / "sh", "\x7fELF")
    assert faults("/absolute", root=str(root)) == faults("/bin/x", OTHER, str(root)) == []
    assert faults("/none", root=str(root)) == [f"the program /none does not exist in the root directory {root}"]


def test_missing_directory_is_a_fault(directory: Path) -> None:
    (directory / "file").touch()
    assert directory_fault("/", str(directory)) == ""
    assert directory_fault("/", f"{directory}/none") == f"there is no directory {directory}/none"
    assert directory_fault("/", f"{directory}/file") == f"{directory}/file is no directory"
    assert directory_fault(str(directory), "/none") == f"there is no directory /none in the root directory {directory}"
    assert directory_fault(str(directory), "/") == ""
