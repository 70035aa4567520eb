"""What certificates say."""

import time
from pathlib import Path

import pytest

from netd.tls.certificates import read_certificate
from netd.tls.sealed_files import SealedFiles
from tests.support.certificates import Authority


def test_names_time_and_issuer_are_read_from_files_with_a_key(tmp_path: Path) -> None:
    root = Authority(tmp_path)
    issued = root.issue("www", ("WWW.Example.org", "*.example.org", "192.0.2.1"), days=(-2, 30))
    found = read_certificate(SealedFiles.copy([str(issued.certificate), str(issued.key)]))
    assert found.subject == "CN=www"
    assert found.names == ("www.example.org", "*.example.org")
    assert found.not_before == pytest.approx(time.time() - 2 * 86400, abs=600)
    assert found.not_after == pytest.approx(time.time() + 30 * 86400, abs=600)
    assert found.missing_issuer == "CN=Test CA"


def test_chain_is_there_or_not(tmp_path: Path) -> None:
    middle = Authority(tmp_path, "Middle", Authority(tmp_path))
    issued = middle.issue("www")
    assert read_certificate(SealedFiles.copy([str(issued.certificate)])).missing_issuer == ""
    alone = tmp_path / "alone"
    alone.write_bytes(
        issued.certificate.read_bytes().partition(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
    )
    assert read_certificate(SealedFiles.copy([str(alone)])).missing_issuer == "CN=Middle"
    itself = middle.issue("self", self_signed=True)
    assert read_certificate(SealedFiles.copy([str(itself.certificate)])).missing_issuer == ""


def test_common_name_stands_in_for_missing_names(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("www.example.org", ())
    assert read_certificate(SealedFiles.copy([str(issued.certificate)])).names == ("www.example.org",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no certificate in PEM"),
        (b"hello\n", "no certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "cannot be read"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n", "no certificate in PEM"),
    ],
)
def test_other_content_has_a_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_certificate(SealedFiles.copy([str(tmp_path / "file")]))
