"""Files that xinetd sends before a service."""

import grp
import os
from pathlib import Path

import pytest

from tests.importers.xinetd.reading import Imported, imported
from tests.support.programs import need_root

CAT = ("user = nobody", "server = /bin/cat")


def test_files_are_those_of_netd_by_verdict(open_path: Path) -> None:
    verdicts = {"banner_fail": "refused", "banner": "always", "banner_success": "accepted"}
    files = {}
    for name, key in verdicts.items():
        (open_path / name).write_bytes(b"\xff\n")
        files[key] = {"file": f"{open_path}/{name}"}
    result = imported(open_path, *CAT, *(f"{name} = {open_path}/{name}" for name in verdicts))
    assert result.services["x"]["banner"] == files
    assert "refuse" not in result.services["x"]
    assert result.about("banner_success = banner_success")[0].startswith("note: netd reads the file when it starts")
    assert imported(open_path, *CAT, f"banner = {open_path}/banner").services["x"]["banner"] == files["always"]
    inherited = imported(open_path, *CAT, before=f"defaults\n{{\nbanner_fail = {open_path}/banner_fail\n}}\n")
    assert inherited.services["x"]["banner"] == {"refused": files["refused"]}


def test_file_that_the_user_of_the_program_may_not_read_is_no_banner_success(open_path: Path) -> None:
    """xinetd opens banner_success after it has become that user, and the others before."""
    need_root()
    hidden = open_path / "hidden"
    hidden.write_bytes(b"hello\n")
    hidden.chmod(0o600)
    result = imported(open_path, *CAT, f"banner_success = {hidden}", f"banner_fail = {hidden}")
    assert result.services["x"]["banner"] == {"refused": {"file": f"{hidden}"}}
    [told] = [line for line in result.lines if ": not imported: banner_success" in line]
    assert "xinetd opens it as the user nobody, which may not read hidden" in told
    hidden.chmod(0o644)
    assert "accepted" in imported(open_path, *CAT, f"banner_success = {hidden}").services["x"]["banner"]
    os.chown(hidden, 0, grp.getgrnam("adm").gr_gid)
    hidden.chmod(0o640)
    for lines, sends in ((("group = adm",), True), (("group = adm", "groups = yes"), True), ((), False)):
        found = imported(open_path, *CAT, *lines, f"banner_success = {hidden}").services["x"]
        assert ("banner" in found) == sends, lines
    hidden.chmod(0o644)
    (open_path / "below").mkdir(0o700)
    hidden.rename(open_path / "below" / "file")
    assert "banner" not in imported(open_path, *CAT, f"banner_success = {open_path}/below/file").services["x"]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("banner = /nonexistent",), "No such file or directory"),
        (("banner = motd",), "motd is no absolute path"),
        (("banner_fail = {tmp}",), "Is a directory"),
        (("banner_success = {tmp}/long",), "longer than 4096 octets"),
        (("wait = yes", "banner = {tmp}/file"), "accepts by itself"),
        (
            ("type = INTERNAL UNLISTED", "socket_type = dgram", "wait = yes", "banner = {tmp}/file"),
            "not before datagrams",
        ),
    ],
)
def test_file_that_netd_cannot_send_is_told(tmp_path: Path, lines: tuple[str, ...], reason: str) -> None:
    (tmp_path / "long").write_bytes(bytes(4097))
    (tmp_path / "file").write_bytes(b"hello\n")
    text = "".join(f"{line.format(tmp=tmp_path)}\n" for line in lines)
    given = {line.partition(" ")[0] for line in lines}
    usual = ("type = UNLISTED", "port = 1025", "wait = no", "socket_type = stream", *CAT)
    body = "\n".join(one for one in usual if one.partition(" ")[0] not in given)
    (tmp_path / "xinetd.conf").write_text(f"service echo\n{{\n{body}\n{text}}}\n")
    result = Imported(tmp_path / "xinetd.conf")
    assert "banner" not in result.services["echo"]
    [told] = [line for line in result.lines if ": not imported: banner" in line]
    assert reason in told
