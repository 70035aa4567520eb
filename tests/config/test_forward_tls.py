"""What `netd check` says of TLS to targets."""

from pathlib import Path
from typing import Any

import pytest

from netd.config import loader
from netd.config.model import Config
from netd.config.problems import InvalidConfigError, Problem
from netd.tls.client import client_context
from tests.support.certificates import Authority


@pytest.fixture(autouse=True)
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path, "ca")
    made.issue("own").key.chmod(0o600)
    made.issue("other").key.chmod(0o644)
    return made


def load(directory: Path, text: str) -> Config:
    (directory / "netd.yaml").write_text(text.replace("$", f"{directory}/"))
    return loader.load(directory / "netd.yaml")


def shown(directory: Path, problem: Problem) -> str:
    return f"{problem.subject}: {problem.message}{'; ' * bool(problem.hint)}{problem.hint}".replace(
        f"{directory}/", "$"
    )


def forward(to_tls: str, to: str = "tls://db.example:5433") -> str:
    return (
        "services:\n  db:\n    type: forward\n    listen: [tcp://127.0.0.1:5432]\n"
        f"    options: {{to: ['{to}'], to_tls: {to_tls}}}\n"
    )


OWN = "{ca: $ca.pem, certificate: $own.pem, key: $own.key, name: db.internal}"


def test_files_are_kept_and_a_renewed_one_is_another(tmp_path: Path, authority: Authority) -> None:
    [one], [same] = load(tmp_path, forward(OWN)).services, load(tmp_path, forward(OWN)).services
    assert one.tls_files
    assert one.tls_files.to_trust
    assert one.tls_files.to_certificate
    assert one.tls_files == same.tls_files
    authority.issue("own")
    [renewed] = load(tmp_path, forward(OWN)).services
    assert renewed.tls_files != one.tls_files
    [bare] = load(tmp_path, forward("{}")).services
    assert bare.tls_files
    assert not bare.tls_files.to_trust


@pytest.mark.parametrize(
    ("service", "found"),
    [
        (
            forward("{verify: false}", "tcp://db.example:5433"),
            "services.db.options.to_tls: no target has TLS; write tls:// in place of tcp:// in to",
        ),
        (
            forward("{verify: false}", "unix://$db"),
            "services.db.options.to_tls: no target has TLS; tls://HOST:PORT in to has it",
        ),
        (
            forward("{key: $own.key}"),
            "services.db.options.to_tls.key: a key needs its certificate; set to_tls.certificate",
        ),
        (
            forward("{ca: $ca.pem, verify: false}"),
            "services.db.options.to_tls.ca: verify: false: no certificate is verified; leave out one of them",
        ),
        (
            forward("{ca: $missing.pem}"),
            "services.db.options.to_tls.ca: cannot read $missing.pem: No such file or directory",
        ),
        (
            forward("{ca: $own.key}"),
            "services.db.options.to_tls.ca: $own.key: there is no certificate in PEM in it",
        ),
        (
            forward("{certificate: $own.pem, key: $other.key}"),
            "services.db.options.to_tls.certificate: $own.pem and $other.key: the key is not that of the certificate",
        ),
    ],
)
def test_fault_is_told(tmp_path: Path, service: str, found: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        load(tmp_path, service)
    assert [shown(tmp_path, one) for one in caught.value.found] == [found]


def test_readable_key_and_files_of_a_disabled_service_are_noticed(tmp_path: Path) -> None:
    [notice] = load(tmp_path, forward("{certificate: $other.pem, key: $other.key}")).notices
    assert "every user of this host can read the key in $other.key; chmod o= it" in shown(tmp_path, notice)
    disabled = forward("{ca: $missing.pem}").replace("type: forward", "type: forward\n    enabled: false")
    [notice] = load(tmp_path, disabled).notices
    assert "cannot read" in notice.message


def test_authorities_of_the_host_are_kept_for_workers_in_a_chroot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Authority(tmp_path, "host").certificate.rename(tmp_path / "0123abcd.0")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    chroot = "daemon: {chroot: $}\n"
    [one] = load(tmp_path, chroot + forward("{}")).services
    assert one.tls_files
    assert one.tls_files.to_trust
    authorities: list[Any] = client_context(one.tls_files.to_trust.path).get_ca_certs()
    assert {found["subject"][0][0][1] for found in authorities} == {"ca", "host"}
    [unverified] = load(tmp_path, chroot + forward("{verify: false}")).services
    assert unverified.tls_files
    assert not unverified.tls_files.to_trust
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(InvalidConfigError) as caught:
        load(tmp_path, chroot + forward("{}"))
    [problem] = caught.value.found
    assert shown(tmp_path, problem) == (
        "services.db.options.to_tls.ca: this host has no certificates of authorities to verify a target with; "
        "set to_tls.ca, or install ca-certificates"
    )
