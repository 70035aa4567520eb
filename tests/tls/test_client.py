"""The side of TLS that connects: what it verifies, and what its errors say, in handshakes of two sides in memory."""

import errno
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from netd.tls.client import client_context, describe_error, host_authorities
from tests.support.certificates import Authority, Issued
from tests.support.tls_server import server_context


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> ssl.SSLObject:
    """The client's side of a handshake, and an octet after it. Raises its errors; those of the server are alerts."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=name)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        try:
            one.do_handshake()
        except ssl.SSLWantReadError:
            pass
        try:
            other.do_handshake()
            other.write(b"x")
        except ssl.SSLError:
            pass
    assert one.read(1) == b"x"
    return one


def fault(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> str:
    with pytest.raises(ssl.SSLError) as caught:
        shake(client, server, name)
    return describe_error(caught.value)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_server_of_a_trusted_authority_is_verified_by_its_name(ca: Authority, name: str) -> None:
    intermediate = Authority(ca.directory, "Intermediate", ca)
    for issuer in (ca, intermediate):
        assert shake(client_context(str(ca.certificate)), server_context(issuer.issue("server")), name)


def issued(ca: Authority, kind: str) -> Issued:
    match kind:
        case "expired":
            return ca.issue(kind, days=(-10, -1))
        case "future":
            return ca.issue(kind, days=(1, 10))
        case "self-signed":
            return ca.issue(kind, self_signed=True)
        case "client":
            return ca.issue(kind, client=True)
    return ca.issue(kind, ("other.example",))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("expired", "certificate has expired"),
        ("future", "certificate is not yet valid"),
        ("self-signed", "self-signed certificate"),
        ("client", "unsuitable certificate purpose"),
        ("other", "Hostname mismatch, certificate is not valid for 'localhost'"),
    ],
)
def test_server_that_is_not_verified_is_an_error_unless_insecure(ca: Authority, kind: str, words: str) -> None:
    server = server_context(issued(ca, kind))
    said = fault(client_context(str(ca.certificate)), server)
    assert said.replace("self signed", "self-signed") == f"certificate verify failed: {words}"  # OpenSSL 1.1 says it so
    assert shake(client_context(insecure=True), server)


def test_authority_that_is_not_trusted_is_an_error(ca: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path)
    for context in (client_context(str(other.certificate)), client_context()):
        assert fault(context, server_context(ca.issue("server"))).startswith("certificate verify failed: ")


def test_certificate_of_the_server_itself_can_be_trusted(ca: Authority) -> None:
    for self_signed in (True, False):
        one = ca.issue("pinned", self_signed=self_signed)
        assert shake(client_context(str(one.certificate)), server_context(one))
        assert "certificate verify failed" in fault(client_context(str(one.certificate)), server_context(ca.issue("x")))


def test_client_may_have_a_certificate(ca: Authority, tmp_path: Path) -> None:
    server = server_context(ca.issue("server"), str(ca.certificate))
    assert "certificate required" in fault(client_context(str(ca.certificate)), server)
    alex = ca.issue("alex", client=True)
    assert shake(client_context(str(ca.certificate), str(alex.certificate), str(alex.key)), server)
    both = tmp_path / "both.pem"
    both.write_text(alex.certificate.read_text() + alex.key.read_text())
    assert shake(client_context(str(ca.certificate), str(both)), server)


def test_versions_without_a_common_one_are_an_error(ca: Authority) -> None:
    server = server_context(ca.issue("server"))
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    client = client_context(str(ca.certificate), minimum=ssl.TLSVersion.TLSv1_3)
    assert "protocol version" in fault(client, server)
    assert shake(client_context(str(ca.certificate)), server).version() == "TLSv1.2"


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"error: expected a line\r\n", b"220 hello\r\n", None]
)
def test_answer_that_is_no_tls_is_named_so(answer: bytes | None) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(outgoing.read() if answer is None else answer)  # None: an echo
    with pytest.raises(ssl.SSLError) as caught:
        client.do_handshake()
    assert describe_error(caught.value).startswith("the server does not speak TLS (")


def test_end_in_the_handshake_is_named_so() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    incoming.write_eof()
    with pytest.raises(ssl.SSLError) as caught:
        client.do_handshake()
    assert describe_error(caught.value) == "closed by the other end during the TLS handshake"
    assert describe_error(ConnectionResetError(errno.ECONNRESET, "x")) == describe_error(caught.value)
    assert describe_error(OSError(errno.EHOSTUNREACH, "x")) == "No route to host"


def test_files_of_no_use_are_errors(ca: Authority, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("no certificate\n")
    empty, one, other = str(tmp_path / "empty"), ca.issue("one"), ca.issue("other")
    with pytest.raises(ValueError, match="^there is no certificate in PEM in it$"):
        client_context(empty)
    with pytest.raises(ValueError, match="^the key is not that of the certificate$"):
        client_context(None, str(one.certificate), str(other.key))
    with pytest.raises(ValueError, match="^a certificate and its key in PEM are expected$"):
        client_context(None, empty, str(other.key))
    key = serialization.load_pem_private_key(one.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    one.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    with pytest.raises(ValueError, match="^the key has a passphrase"):
        client_context(None, str(one.certificate), str(one.key))
    with pytest.raises(FileNotFoundError):
        client_context(str(tmp_path / "none"))


def test_authorities_of_the_host_are_those_that_a_context_finds_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, first, second = tmp_path / "bundle.pem", tmp_path / "a[1]", tmp_path / "b"
    for directory in (first, second):
        directory.mkdir()
    found = (bundle, first / "00ab12cd.0", second / "00ab12cd.1")
    for file in (*found, first / "ab.0", first / "00ab12cd.r0", first / "root.pem"):
        file.touch()
    (first / "ffffffff.0").symlink_to("gone")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("SSL_CERT_DIR", f"{first}:{second}:{tmp_path / 'gone'}")
    assert host_authorities() == tuple(map(str, found))
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "")
    assert host_authorities() == ()
