"""tcpmux of xinetd, and the services that it passes connections on to."""

from pathlib import Path

import pytest

from tests.importers.xinetd.reading import Imported, of_text

MUX = "service tcpmux\n{\ntype = INTERNAL\nsocket_type = stream\nwait = no\n}\n"


def named(folder: Path, kind: str, *lines: str, name: str = "Cat") -> Imported:
    usual = ("socket_type = stream", "wait = no", "user = nobody", "server = /bin/cat", f"type = {kind}", *lines)
    body = "\n".join(usual)
    return of_text(folder, f"{MUX}service {name}\n{{\n{body}\n}}\n")


def test_services_are_named_and_have_no_listener(tmp_path: Path) -> None:
    result = named(tmp_path, "TCPMUX UNLISTED", "id = kitty")
    assert result.services["tcpmux"] == {"type": "tcpmux", "listen": ["tcp://*:1"]}
    assert result.services["kitty"]["tcpmux"] == {"name": "Cat", "plain": True}
    assert result.services["kitty"]["options"]["command"] == ["/bin/cat"]
    assert not {"listen", "enabled"} & result.services["kitty"].keys()
    assert named(tmp_path, "TCPMUXPLUS UNLISTED").services["Cat"]["tcpmux"] == "Cat"


def test_attributes_of_a_listener_had_no_effect(tmp_path: Path) -> None:
    result = named(tmp_path, "TCPMUXPLUS UNLISTED", "port = 99", "bind = 127.0.0.1")
    assert "listen" not in result.services["Cat"]
    for line in ("port = 99", "bind = 127.0.0.1"):
        assert result.about(line) == ["note: had no effect: the service tcpmux listens for it"]


def test_banner_of_success_alone_is_sent(open_path: Path) -> None:
    (open_path / "b").write_text("hello\n")
    lines = [f"{name} = {open_path}/b" for name in ("banner", "banner_success", "banner_fail")]
    result = named(open_path, "TCPMUXPLUS UNLISTED", *lines)
    assert result.services["Cat"]["banner"] == {"accepted": {"file": f"{open_path}/b"}}
    assert "over tcpmux" in result.about("banner_fail = b")[0]


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [("TCPMUX", "cat", "with UNLISTED only"), ("TCPMUXPLUS", "cat", "with UNLISTED only")],
)
def test_service_that_xinetd_did_not_start_is_off(tmp_path: Path, kind: str, name: str, reason: str) -> None:
    result = named(tmp_path, kind, name=name)
    assert result.services[name]["enabled"] is False
    assert reason in result.text


@pytest.mark.parametrize(
    ("line", "name"),
    [("protocol = udp", "cat"), ("socket_type = dgram", "cat"), ("user = root", "help"), ("user = root", "x" * 65)],
)
def test_service_that_cannot_be_named_is_left_out(tmp_path: Path, line: str, name: str) -> None:
    key = line.partition(" ")[0]
    usual = ("socket_type = stream", "wait = no", "user = nobody", "server = /bin/cat", "type = TCPMUX UNLISTED")
    body = "\n".join([*(one for one in usual if one.partition(" ")[0] != key), line])
    result = of_text(tmp_path, f"{MUX}service {name}\n{{\n{body}\n}}\n")
    assert list(result.services) == ["tcpmux"]


def test_second_service_of_a_name_is_off(tmp_path: Path) -> None:
    body = "socket_type = stream\nwait = no\nuser = nobody\nserver = /bin/cat\ntype = TCPMUX UNLISTED"
    result = of_text(tmp_path, "".join(f"service {one}\n{{\nid = {one}\n{body}\n}}\n" for one in ("cat", "CAT")))
    assert "enabled" not in result.services["cat"]
    assert result.services["CAT"]["enabled"] is False


def test_tcpmux_for_datagrams_was_off(tmp_path: Path) -> None:
    text = MUX.replace("stream", "dgram").replace("= no", "= yes").replace("INTERNAL", "INTERNAL UNLISTED\nport = 1")
    result = of_text(tmp_path, text)
    assert result.services == {}
