"""Contexts of OpenSSL."""

import ssl
import subprocess
from pathlib import Path

import pytest

from netd.tls.contexts import Contexts, server_context, set_ciphers
from netd.tls.options import TlsOptions
from tests.support.certificates import Authority
from tests.support.programs import need


def joined(path: Path, *files: Path) -> str:
    path.write_bytes(b"\n".join(file.read_bytes() for file in files))
    return str(path)


def test_name_selects_its_own_context_then_a_wildcard_for_one_label_then_the_first() -> None:
    first, own, wildcard = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(3))
    contexts = Contexts([(first, ["one.example"]), (own, ["www.example.org"]), (wildcard, ["*.example.org"])])
    assert contexts.select("www.example.org") is own
    assert contexts.select("a.example.org") is wildcard
    for other in ("", "example.org", "a.b.example.org", "*.example", "other.example"):
        assert contexts.select(other) is first, other


def test_context_has_what_the_options_say(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("server")
    path = joined(tmp_path / "both", issued.certificate, issued.key)
    trust = str(Authority(tmp_path, "clients").certificate)
    context = server_context(TlsOptions(), path, trust)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    assert {ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION} <= set(context.options)
    options = TlsOptions(minimum="TLSv1.3", client="optional", client_ca=trust, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    context = server_context(options, path, trust)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.verify_mode == ssl.CERT_OPTIONAL
    assert len(context.get_ca_certs()) == 1
    assert {one["name"] for one in context.get_ciphers() if one["protocol"] == "TLSv1.2"} == {options.ciphers}


def test_files_that_do_not_fit_have_a_reason(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    locked = tmp_path / "locked"
    command = [need("openssl"), "pkey", "-in", str(one.key), "-aes256", "-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    for key, reason in ((other.key, "not that of the certificate"), (locked, "passphrase")):
        with pytest.raises(ValueError, match=reason):
            server_context(TlsOptions(), joined(tmp_path / "both", one.certificate, key), None)
    good = joined(tmp_path / "good", one.certificate, one.key)
    with pytest.raises(ValueError, match="no certificate"):
        server_context(TlsOptions(client="required"), good, str(one.key))
    with pytest.raises(ValueError, match="ciphers"):
        set_ciphers(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "NONE-OF-THESE")
