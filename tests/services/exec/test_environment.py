"""The environment of a program."""

import pwd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.peer import Credentials, Peer
from netd.services.exec.environment import base_environment, is_about_peer, is_safe, peer_environment
from netd.services.exec.options import ProgramOptions

ALEX = pwd.struct_passwd(("alex", "x", 1000, 1000, "Alex", "/home/alex", "/bin/bash"))
BASE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/home/alex",
    "USER": "alex",
    "LOGNAME": "alex",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
}
INHERITED = {"TZ": "UTC", "HOME": "/root", "PATH": "/root/bin", "NOTIFY_SOCKET": "/run/x", "SECRET": "x"}


def test_program_finds_the_variables_of_its_user_and_none_of_netd() -> None:
    assert base_environment(ALEX, ProgramOptions(command=("/x",)), INHERITED) == BASE


def test_account_without_home_and_shell_has_the_root_directory_and_sh() -> None:
    account = pwd.struct_passwd(("x", "x", 1, 1, "", "", ""))
    found = base_environment(account, ProgramOptions(command=("/x",)), {})
    assert (found["HOME"], found["SHELL"]) == ("/", "/bin/sh")


def test_config_passes_replaces_and_adds_variables() -> None:
    options = ProgramOptions(
        command=("/x",), pass_environment=("TZ", "HOME", "MISSING"), environment={"LANG": "C", "TZ": "CET", "A": ""}
    )
    assert base_environment(ALEX, options, INHERITED) == BASE | {"HOME": "/root", "LANG": "C", "TZ": "CET", "A": ""}


def test_peer_over_tcp_has_all_customary_names() -> None:
    assert peer_environment(Peer("tcp", "192.0.2.7", 5353, "198.51.100.1", 873)) == {
        "REMOTE_HOST": "192.0.2.7",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "5353",
        "SERVER_PORT": "873",
        "PROTO": "TCP",
        "TCPREMOTEIP": "192.0.2.7",
        "TCPREMOTEPORT": "5353",
        "TCPLOCALIP": "198.51.100.1",
        "TCPLOCALPORT": "873",
    }


def test_ipv6_peer_is_numeric_and_has_the_scope_of_a_link_local_address() -> None:
    found = peer_environment(Peer("tcp", "fe80::7%eth0", 5353, "fe80::1%eth0", 873))
    assert (found["REMOTE_HOST"], found["TCPREMOTEIP"], found["TCPLOCALIP"]) == (
        "fe80::7%eth0",
        "fe80::7%eth0",
        "fe80::1%eth0",
    )


def test_peer_over_unix_has_its_credentials() -> None:
    assert peer_environment(Peer("unix", "", 0, "/run/x.sock", 0, Credentials(17, 1000, 100))) == {
        "PROTO": "UNIX",
        "UNIXLOCALPATH": "/run/x.sock",
        "UNIXREMOTEPID": "17",
        "UNIXREMOTEEUID": "1000",
        "UNIXREMOTEEGID": "100",
    }


def test_path_of_a_peer_is_escaped_and_left_out_if_it_is_long() -> None:
    found = peer_environment(Peer("unix", "/tmp/\n\x7fä", 0, "/run/x.sock"))
    assert found["UNIXREMOTEPATH"] == found["REMOTE_ADDR"] == r"/tmp/\n\x7f\xe4"
    assert "REMOTE_ADDR" not in peer_environment(Peer("unix", "/" + "\x01" * 100, 0, "/run/x.sock"))
    assert "REMOTE_ADDR" not in peer_environment(Peer("unix", "() { :;}; id", 0, "/run/x.sock"))


def test_facts_about_the_peer_are_added_where_they_are_safe() -> None:
    peer = Peer("tcp", "192.0.2.7", 5353, "198.51.100.1", 443)
    found = peer_environment(peer, {"SSL_PROTOCOL": "TLSv1.3", "SSL_CIPHER": "a\nb", "SSL_TLS_SNI": "() { :;}"})
    assert found == peer_environment(peer) | {"SSL_PROTOCOL": "TLSv1.3"}


@pytest.mark.parametrize("value", ["", "a b", "~", "x" * 256, "a()"])
def test_printable_ascii_is_safe(value: str) -> None:
    assert is_safe(value)


@pytest.mark.parametrize("value", ["()", "() { :; }", "x" * 257, "a\n", "a\0", "\x7f", "\x1b[m", "ä", "\udcff"])
def test_other_values_are_not_safe(value: str) -> None:
    assert not is_safe(value)


@given(host=st.text(max_size=108), local=st.text(max_size=108))
def test_any_path_of_a_peer_gives_safe_values(host: str, local: str) -> None:
    found = peer_environment(Peer("unix", host, 0, local, 0, Credentials(1, 2, 3)))
    assert all(map(is_safe, found.values()))
    assert all(map(is_about_peer, found))
    assert found["PROTO"] == "UNIX"
