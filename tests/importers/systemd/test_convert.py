"""From socket units to services of netd: samples, each with the config and the account that are expected."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.errors import ConfigError
from netd.importers.account import Account
from netd.importers.systemd.convert import convert
from netd.importers.yaml_text import render
from tests.importers.made_up_host import MadeUpHost
from tests.importers.systemd.units import assert_config_is_valid, imported, write_units

KEYS = """ListenStream ListenDatagram Accept ExecStart User Environment LimitCPU Nice UMask BindIPv6Only Backlog
IPAddressDeny IPAddressAllow TimeoutStopSec StandardInput SocketMode MaxConnections"""
SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.units")), ids=lambda file: file.stem)
def test_a_sample_has_the_expected_config_and_account(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"unit{sample.stem}"
    write_units(name, sample.read_text(), tmp_path)
    account = Account()
    document = convert([f"{name}.socket"], account, MadeUpHost(), (".",))
    assert render(document) == sample.with_suffix(".yaml").read_text()
    assert "".join(f"{one}\n" for one in account.findings) == sample.with_suffix(".account").read_text()
    assert_config_is_valid(document, tmp_path)


def test_units_that_do_not_exist_or_are_no_sockets_are_refused(tmp_path: Path) -> None:
    for name, expected in (("y.socket", "no such unit"), ("y.service", "expected a socket unit")):
        with pytest.raises(ConfigError, match=expected):
            convert([name], Account(), MadeUpHost(), (str(tmp_path),))


def test_two_units_with_one_address_are_not_both_on(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_units(name, "# == .socket\n[Socket]\nListenStream=80\nAccept=yes\n", tmp_path)
        write_units(name, "# == @.service\n[Service]\nStandardInput=socket\nExecStart=/bin/cat\n", tmp_path)
    account = Account()
    document = convert(["a.socket", "b.socket"], account, MadeUpHost(), (str(tmp_path),))
    assert [service.enabled for service in document.services.values()] == [True, False]
    assert "a has an address of it already" in "".join(map(str, account.findings))
    assert "systemctl disable --now a.socket b.socket" in document.heading[1]


def test_a_daemon_with_several_sockets_is_off(tmp_path: Path) -> None:
    text = "# == .socket\n[Socket]\nListenStream=80\nListenDatagram=80\n# == .service\n[Service]\nExecStart=/bin/cat\n"
    document, account = imported(text, tmp_path)
    assert not document.services["x"].enabled
    assert "takes several sockets" in account


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[Socket]\nListenStream=x\n# == .service\n[Service]\nExecStart=/bin/cat\n",
            "nothing on which netd can listen",
        ),
        ("[Socket]\nListenStream=80\n# == .service\n[Service]\nUser=root\n", "no command that netd can run"),
        ("[Socket]\nListenStream=80\nService=y.service\n# == .service\n", "there is no unit y.service"),
        ("[Socket]\nListenStream=80\n# == .service\n[Service]\nExecStart=/a\nUser=a b\n", "netd cannot have it: user"),
    ],
)
def test_a_unit_of_which_no_service_can_be_made_is_told(text: str, expected: str, tmp_path: Path) -> None:
    document, account = imported(f"# == .socket\n{text}", tmp_path)
    assert not document.services
    assert expected in account
    assert "not imported: x.socket" in document.closing


def test_an_instance_has_the_files_of_its_template(tmp_path: Path) -> None:
    text = "# == .socket\n[Socket]\nListenStream=80\nService=y@1.service\n"
    write_units("", "# == y@.service\n[Service]\nExecStart=/bin/cat %i %p\n", tmp_path)
    document, _ = imported(text, tmp_path)
    assert document.services["x"].get("options", "command") == ["/bin/cat", "1", "y"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KEYS.split()),
            st.text(st.sampled_from("a0/1:%t$'\\ []é\udc80\x1b;-@"), max_size=8)
            | st.sampled_from(["yes", "80", "/bin/cat", "any", "socket", "@a", "[::]:80", "/a %i", "infinity", "-5"]),
        ),
        max_size=8,
    )
)
def test_any_unit_becomes_a_config_and_an_account(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    lines = "".join(f"{key}={value}\n" for key, value in rows)
    document, account = imported(
        f"# == .socket\n[Socket]\n{lines}# == .service\n[Service]\n{lines}# == @.service\n[Service]\n{lines}",
        tmp_path_factory.mktemp("any"),
    )
    assert "\x1b" not in render(document) + account
