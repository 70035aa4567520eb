"""What `netd check` says of TLS."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from netd.config import loader
from netd.config.model import Config
from netd.config.problems import InvalidConfigError, Problem
from tests.support.certificates import Authority, Issued


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def issued(authority: Authority) -> Issued:
    made = authority.issue("server")
    made.certificate.write_bytes(made.certificate.read_bytes() + authority.certificate.read_bytes())
    return made


def load(directory: Path, text: str) -> Config:
    (directory / "netd.yaml").write_text(text.replace("$", f"{directory}/"))
    return loader.load(directory / "netd.yaml")


def problems(directory: Path, text: str) -> list[str]:
    """The problems of a config, with their lines and paths."""
    with pytest.raises(InvalidConfigError) as caught:
        load(directory, text)
    return shown(directory, caught.value.found)


def notices(directory: Path, text: str) -> list[str]:
    return shown(directory, load(directory, text).notices)


def shown(directory: Path, found: Iterable[Problem]) -> list[str]:
    rows = [f"{one.mark.line} {one.subject}: {one.message}{'; ' * bool(one.hint)}{one.hint}" for one in found]
    return [row.replace(f"{directory}/", "$") for row in rows]


def echo(tls: str, listen: str = "tls://127.0.0.1:7443") -> str:
    return f'services:\n  echo:\n    listen: ["{listen}"]\n    tls: {tls}\n'


GOOD = "{certificate: $server.pem, key: $server.key}"


def test_content_of_files_is_kept_and_equal_files_are_read_once(tmp_path: Path, issued: Issued) -> None:
    config = load(
        tmp_path,
        f"defaults: {{tls: {GOOD}}}\nservices:\n  echo: {{listen: ['tls://*:7443']}}\n"
        "  upper: {listen: ['tls://*:7444', 'tcp://*:7445'], tls: {minimum: TLSv1.3}}\n  time: {listen: ['tcp://*:37']}\n",
    )
    one, two, none = config.services
    assert one.tls_files
    assert two.tls_files
    [identity] = one.tls_files.identities
    assert two.tls_files.identities[0].files is identity.files
    assert Path(identity.files.path).read_bytes().count(b"-----BEGIN") == 3
    assert identity.names == ("localhost",)
    assert (two.policy.tls.minimum, two.policy.tls.certificate) == ("TLSv1.3", (f"{tmp_path}/server.pem",))
    assert (none.tls_files, none.policy.tls.certificate) == (None, ())
    assert config.notices == ()


@pytest.mark.parametrize(
    ("tls", "said"),
    [
        ("{}", "3 services.echo.listen[0]: tls:// needs a certificate; set tls.certificate and tls.key"),
        (
            "{certificate: $none.pem}",
            "4 services.echo.tls.certificate: cannot read $none.pem: No such file or directory",
        ),
        (
            "{certificate: $server.pem}",
            "4 services.echo.tls.certificate: $server.pem: there is no key in PEM in it, or none that OpenSSL knows",
        ),
        (
            "{certificate: $server.pem, key: $other.key}",
            "4 services.echo.tls.certificate: $server.pem and $other.key: the key is not that of the certificate",
        ),
        (
            "{certificate: $netd.yaml, key: $server.key}",
            "4 services.echo.tls.certificate: $netd.yaml and $server.key: there is no certificate in PEM in it",
        ),
        (
            "{certificate: [$server.pem, $server.pem], key: $server.key}",
            "4 services.echo.tls.key: expected as many keys as certificates, 2, got 1",
        ),
        (
            "{certificate: $server.pem, key: $server.key, client: required}",
            "4 services.echo.tls.client: client: required needs the authorities of clients; set tls.client_ca",
        ),
        (
            "{certificate: $server.pem, key: $server.key, client_ca: $ca.pem}",
            "4 services.echo.tls.client_ca: client: none asks for no certificate; set tls.client to required",
        ),
        (
            "{certificate: $server.pem, key: $server.key, client: required, client_ca: $server.key}",
            "4 services.echo.tls.client_ca: $server.key: there is no certificate in PEM in it",
        ),
        (
            "{certificate: $server.pem, key: $server.key, crl: $x}",
            "4 services.echo.tls.crl: revocation lists are those of authorities of clients; set tls.client_ca",
        ),
        (
            "{certificate: $server.pem, key: $server.key, ciphers: NONE}",
            "4 services.echo.tls.ciphers: OpenSSL has none of these ciphers (openssl-ciphers(1))",
        ),
    ],
)
def test_each_problem_is_one_line_with_its_place(
    tmp_path: Path, authority: Authority, issued: Issued, tls: str, said: str
) -> None:
    authority.issue("other")
    (tmp_path / "ca.pem").write_bytes(authority.certificate.read_bytes())
    assert problems(tmp_path, echo(tls)) == [said]


def clients(crl: str) -> str:
    """A service with revocation lists in this file."""
    authorities = f"client: required, client_ca: $Test CA.pem, crl: {crl}"
    return echo(f"{{certificate: $server.pem, key: $server.key, {authorities}}}")


def test_file_without_a_revocation_list_is_a_problem(tmp_path: Path, issued: Issued) -> None:
    said = "4 services.echo.tls.client_ca: $Test CA.pem and $server.pem: there is no revocation list in PEM in it"
    assert problems(tmp_path, clients("$server.pem")) == [said]


def test_revocation_list_that_is_not_valid_now_is_a_notice(
    tmp_path: Path, authority: Authority, issued: Issued
) -> None:
    authority.revoke()
    assert notices(tmp_path, clients("$Test CA.crl")) == []
    for validity, what in (({"days": -2.0}, "has expired on"), ({"since": 1.0}, "is not valid before")):
        authority.revoke(**validity)
        [said] = notices(tmp_path, clients("$Test CA.crl"))
        assert said.startswith(f"4 services.echo.tls.crl: $Test CA.crl: the list of CN=Test CA {what} ")


def test_tls_and_an_endpoint_with_it_need_each_other(tmp_path: Path, issued: Issued) -> None:
    said = ["4 services.echo.tls: no endpoint of the service has TLS; write tls:// in place of tcp:// in listen"]
    assert problems(tmp_path, echo(GOOD, "tcp://*:7443")) == said
    said = ["4 services.echo.tls: no endpoint of the service has TLS; tls://HOST:PORT in listen has it"]
    assert problems(tmp_path, echo(GOOD, "udp://*:7443")) == said
    assert "unknown socket option" in problems(tmp_path, echo(GOOD, "tls://*:7443?mode=0600"))[0]


def test_program_that_accepts_by_itself_has_no_tls_and_another_one_a_relay(tmp_path: Path, issued: Issued) -> None:
    text = (
        f"services:\n  run:\n    type: exec\n    listen: ['tls://*:7443']\n    tls: {GOOD}\n"
        "    limits: {idle: 1m}\n    options: {command: [/bin/cat]"
    )
    [service] = load(tmp_path, text + "}").services
    assert getattr(service.options, "relay", None) is True
    assert service.given["relay"] is True
    assert problems(tmp_path, text + ", relay: false}")[1].startswith("7 services.run.options.relay: it cannot be")
    found = problems(tmp_path, text.replace("limits: {idle: 1m}", "") + ", mode: listener}")
    assert found == ["4 services.run.listen[0]: mode: listener: the program accepts by itself, so netd can do no TLS"]


def test_time_chain_and_permissions_are_notices(tmp_path: Path, authority: Authority) -> None:
    for name, days in (("old", (-9, -2)), ("new", (2, 9))):
        authority.issue(name, days=days)
        found = notices(tmp_path, echo(f"{{certificate: ${name}.pem, key: ${name}.key}}"))
        word = {"old": "has expired on", "new": "is not valid before"}[name]
        assert f"4 services.echo.tls.certificate: ${name}.pem {word} 20" in found[0]
        assert found[1].endswith("; append it: clients that do not have it refuse to connect")
        os.chmod(tmp_path / f"{name}.key", 0o644)
        found = notices(tmp_path, echo(f"{{certificate: ${name}.pem, key: ${name}.key}}"))
        assert f"every user of this host can read the key in ${name}.key; chmod o= it" in found[2]


def test_files_of_a_disabled_service_may_come_later(tmp_path: Path) -> None:
    text = echo("{certificate: $none.pem}") + "    enabled: false\n"
    assert notices(tmp_path, text) == [
        "4 services.echo.tls.certificate: cannot read $none.pem: No such file or directory"
    ]


def test_certificate_rules_need_clients_with_certificates(tmp_path: Path, issued: Issued) -> None:
    tls = "certificate: $server.pem, key: $server.key"
    clients = "client_ca: '$Test CA.pem', client: optional"
    mixed = f"defaults: {{tls: {{{tls}, {clients}}}, access: {{allow: ['cn:a']}}}}\nservices:\n"
    rules = "access: {allow: [10.0.0.0/8, cn:*.ops.example]}"
    needs = "cn:*.ops.example needs clients with certificates; "
    hint = "set tls.client_ca to the file of their authority, and tls.client to required"
    one = "services:\n  echo: {{listen: ['tls://*:7443'], {}, tls: {{{}}}}}\n"
    config = load(tmp_path, one.format(rules, f"{tls}, {clients}"))
    assert config.services[0].access.read().certificates.texts == ("cn:*.ops.example",)
    assert problems(tmp_path, one.format(rules, tls)) == [f"2 services.echo.access.allow[1]: {needs}{hint}"]
    message = "access.allow has cn:a, and a peer over {}:// has no certificate"
    hint = "listen on tls://, give this endpoint to a service of its own, or set access.allow without it"
    for transport, url in (
        ("tcp", "tcp://*:7"),
        ("udp", "udp://*:7"),
        ("unix", "unix:///x"),
        ("systemd", "systemd://x"),
    ):
        assert problems(tmp_path, f"{mixed}  echo: {{listen: ['tls://*:7443', '{url}']}}\n") == [
            f"3 services.echo.listen[1]: {message.format(transport)}; {hint}"
        ]
    load(
        tmp_path,
        f"{mixed}  echo: {{listen: ['tls://*:7443']}}\n  time: {{listen: ['tcp://*:7'], access: {{allow: []}}}}\n",
    )
