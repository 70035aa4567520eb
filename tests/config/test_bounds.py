"""Large configs: bounds on their size, with the place of the first excess, and the cost of loading them."""

import subprocess
import sys
from pathlib import Path

import pytest

from netd.admission import access_memory
from netd.admission.access import AccessRules
from netd.admission.access_table import compile_rules
from netd.config import bounds, loader
from netd.config.bounds import Bound
from netd.config.model import Config
from netd.errors import ConfigError
from tests.support.certificates import Authority


def load(tmp_path: Path, text: str, **included: str) -> Config:
    (tmp_path / "netd.yaml").write_text(text)
    for name, content in included.items():
        (tmp_path / f"{name}.yaml").write_text(content)
    return loader.load(tmp_path / "netd.yaml")


def problems(tmp_path: Path, text: str, **included: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text, **included)
    assert raised.value.exit_code == 78
    return [problem.removeprefix(f"{tmp_path}/") for problem in raised.value.problems]


def service(number: int, more: str = "") -> str:
    return f"  s{number}: {{type: echo, listen: ['unix://@s{number}']{more}}}\n"


def networks(number: int, first: int = 10) -> str:
    return ", ".join(f"{first}.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(number))


def lower(monkeypatch: pytest.MonkeyPatch, name: str, most: int) -> str:
    """Lower a bound, so that a small config exceeds it. Returns the message."""
    bound: Bound = getattr(bounds, name)
    for module in [module for key, module in sys.modules.items() if key.startswith("netd.config.")]:
        if hasattr(module, name):
            monkeypatch.setattr(module, name, Bound(most, bound.what))
    return f"more than {most} {bound.what}"


@pytest.mark.slow  # large configs
def test_services_above_the_bound_are_reported_by_check(tmp_path: Path) -> None:
    most = bounds.SERVICES.most
    for name, head, numbers in (
        ("netd", "include: [a.yaml, b.yaml]\n", range(most // 2)),
        ("a", "", range(most // 2, most)),
        ("b", "", range(most, most + 2)),
    ):
        (tmp_path / f"{name}.yaml").write_text(f"{head}services:\n{''.join(map(service, numbers))}")
    command = [sys.executable, "-m", "netd", "check", "-c", str(tmp_path / "netd.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert f"{tmp_path}/b.yaml:2:3: services.s{most}: more than {most} services\n" in done.stderr
    assert f"s{most + 1}" not in done.stderr


@pytest.mark.slow  # large configs
def test_services_up_to_the_bound_are_accepted(tmp_path: Path) -> None:
    most = bounds.SERVICES.most
    half = most // 2
    config = load(
        tmp_path,
        "include: [a.yaml]\nservices:\n" + "".join(map(service, range(half))),
        a="services:\n" + "".join(map(service, range(half, most))),
    )
    assert len(config.services) == most


def test_rules_of_defaults_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lower(monkeypatch, "RULES", 10)
    text = f"defaults: {{access: {{deny: [{networks(10)}]}}}}\nservices:\n{''.join(map(service, range(30)))}"
    places = {(one.access.offset, one.access.length) for one in load(tmp_path, text).services}
    assert len(places) == 1


def test_rules_above_the_bound_are_reported_once_at_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_many = lower(monkeypatch, "RULES", 10)
    own = f", access: {{deny: [{networks(5)}]}}"
    text = "services:\n" + service(0, own) + service(1, own) + service(2, own.replace("10.", "11."))
    assert len(load(tmp_path, text).services) == 3, "equal rule sets count once"
    others = [service(n, own.replace("10.", f"1{n}.")) for n in (3, 4)]
    assert problems(tmp_path, text + "".join(others)) == [f"netd.yaml:5:44: services.s3.access: {too_many}"]
    # Those of defaults count again if a service adds rules.
    text = f"defaults: {{access: {{deny: [{networks(6)}]}}}}\nservices:\n" + service(0, ", access: {allow: [any]}")
    assert len(load(tmp_path, text).services) == 1
    assert problems(tmp_path, text + service(1)) == [f"netd.yaml:4:7: services.s1.access: {too_many}"]


def test_times_above_the_bound_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    too_many = lower(monkeypatch, "TIMES", 2)
    text = "defaults: {access: {times: ['08:00-09:00', '10:00-11:00']}}\nservices:\n" + service(0) + service(1)
    assert len(load(tmp_path, text).services) == 2
    text += service(2, ", access: {times: ['08:00-10:00']}")
    assert problems(tmp_path, text) == [f"netd.yaml:5:44: services.s2.access: {too_many}"]


def test_certificate_rules_above_the_bound_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    too_many = lower(monkeypatch, "CERTIFICATE_RULES", 2)
    issued = Authority(tmp_path).issue("server")
    tls = f"{{certificate: {issued.certificate}, key: {issued.key}, client_ca: {issued.certificate}, client: required}}"
    text = f"defaults: {{tls: {tls}, access: {{allow: [any, 'cn:a', 'cn:b']}}}}\nservices:\n"
    text += "".join(f"  s{number}: {{type: echo, listen: ['tls://*:{number}']}}\n" for number in (7, 8))
    assert len(load(tmp_path, text).services) == 2, "equal rule sets count once"
    text += "  s9: {type: echo, listen: ['tls://*:9'], access: {allow: ['cn:c']}}\n"
    assert problems(tmp_path, text) == [f"netd.yaml:5:43: services.s9.access: {too_many}"]


def test_listeners_networks_and_values_above_their_bounds_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = "services:\n" + service(0) + service(1)
    with monkeypatch.context() as lowered:
        too_many = lower(lowered, "LISTENERS", 1)
        assert problems(tmp_path, two) == [f"netd.yaml:3:29: services.s1.listen[0]: {too_many}"]
    with monkeypatch.context() as lowered:
        too_many = lower(lowered, "NETWORKS", 3)
        text = "defaults: {limits: {exempt: [10.0.0.0/8, local]}}\n" + two
        assert problems(tmp_path, text) == [f"netd.yaml:4:3: services.s1: {too_many}"]
    with monkeypatch.context() as lowered:
        too_many = lower(lowered, "VALUES", 30)
        text = "include: [a.yaml, b.yaml]\n"
        assert problems(tmp_path, text, a=two.replace("s", "r"), b=two)[-1] == f"b.yaml:1:1: {too_many}"


def test_certificates_above_the_bound_are_reported_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_many = lower(monkeypatch, "CERTIFICATES", 3)
    issued = Authority(tmp_path).issue("server")
    text = f"defaults: {{tls: {{certificate: [{issued.certificate}], key: {issued.key}}}}}\nservices:\n"
    text += "".join(f"  s{number}: {{type: echo, listen: ['tls://127.0.0.1:{number}']}}\n" for number in range(3))
    text += service(3)
    assert len(load(tmp_path, text).services) == 4
    text += f"  s4: {{type: echo, listen: ['tls://127.0.0.1:4'], tls: {{certificate: {tmp_path / 'none'}}}}}\n"
    assert problems(tmp_path, text) == [f"netd.yaml:7:3: services.s4: {too_many}"]


def test_defaults_are_compiled_once_for_all_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[AccessRules] = []

    def counted(rules: AccessRules) -> bytes:
        compiled.append(rules)
        return compile_rules(rules)

    monkeypatch.setattr(access_memory, "compile_rules", counted)
    text = f"defaults: {{access: {{deny: [{networks(10_000)}]}}}}\nservices:\n"
    text += "".join(service(n, ", access: {times: ['08:00-18:00']}" if n % 2 else "") for n in range(1000))
    assert len({one.access for one in load(tmp_path, text).services}) == len(compiled) == 2
