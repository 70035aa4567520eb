"""Documents and examples beside the code: that they state what the code does."""

import configparser
import json
import re
from typing import Any, get_args

import pytest
import yaml

from netd.admission.access import AccessRules
from netd.admission.bans import BanRules
from netd.admission.limits import Limits
from netd.admission.policy import Policy
from netd.admission.reply_guard import EXPLANATIONS
from netd.config.model import DaemonSection, DefaultsSection, FileSection, LogSection, ServiceSection
from netd.docstrings import meaning
from netd.endpoints import SocketOptions
from netd.reasons import Drop, Outcome, Refusal
from netd.services import table
from netd.services.exec.options import ProgramOptions
from netd.services.service_type import ServiceType
from netd.tls.options import TlsOptions
from netd.values import Model
from tests.source_tree import ROOT

MODELS = (AccessRules, BanRules, DaemonSection, Limits, LogSection, Policy, TlsOptions)


@pytest.mark.parametrize("model", [*(ServiceType.of(one).options for one in table.BUILT_IN.values()), *MODELS])
def test_every_option_says_what_it_means(model: type[Model]) -> None:
    for name in model.model_fields:
        assert meaning(model, name), f"{model.__qualname__}.{name}"


@pytest.mark.parametrize("name", table.BUILT_IN)
def test_service_type_is_in_the_file_or_package_of_its_name(name: str) -> None:
    assert table.BUILT_IN[name].__module__ == f"netd.services.{name}"


@pytest.mark.parametrize("name", table.BUILT_IN)
def test_every_service_says_what_it_does(name: str) -> None:
    kind = ServiceType.of(table.BUILT_IN[name], name)
    assert len(kind.summary) > 20
    assert kind.streams or kind.datagrams


def test_the_config_shows_every_key_with_its_default() -> None:
    text = (ROOT / "config" / "netd.yaml").read_text()
    # With every default that is commented out switched on, it says what is in force without them.
    full = yaml.safe_load(re.sub(r"(?m)^(\s*)#(\w+: )", r"\1\2", text))
    assert full.keys() == FileSection.model_fields.keys()
    for model, shown in (
        (DaemonSection, full["daemon"]),
        (LogSection, full["log"]),
        (BanRules, full["bans"]),
        (AccessRules, full["defaults"]["access"]),
        (Limits, full["defaults"]["limits"]),
        (TlsOptions, full["defaults"]["tls"]),
    ):
        assert shown.keys() == model.model_fields.keys()
        assert model.model_validate_json(json.dumps(shown)) == model()
    assert full["defaults"].keys() == DefaultsSection.model_fields.keys()
    for key, field in Policy.model_fields.items():
        if key not in ("access", "limits", "tls"):
            assert f"#   {key}: {json.dumps(field.default).strip(chr(34))}" in text, key
    assert "#   log_connections: all" in text
    types = set()
    for name, entry in full["services"].items():
        kind = table.find(entry.get("type", name))
        assert kind
        types.add(kind.name)
        given = {key: value for key, value in (entry.get("options") or {}).items() if key not in ("encoding", "file")}
        fields = kind.options.model_fields
        read = kind.options.model_validate_json(json.dumps(given))
        for key in given:
            if fields[key].is_required():
                continue  # it stands for any value
            default = fields[key].get_default(call_default_factory=True)
            assert getattr(read, key) == default, f"{name}.{key}"
        if kind.name != "time":
            # What programs have in common stands with exec.
            common = set() if kind.name == "exec" or not kind.starts_programs else ProgramOptions.model_fields.keys()
            assert (entry.get("options") or {}).keys() | common == set(fields), name
    assert types == set(table.BUILT_IN), "a service type the config does not show"
    for option in SocketOptions.__dataclass_fields__:
        assert re.search(rf"\b{option}=", text), f"the socket option {option} is not explained"
    assert set(ServiceSection.model_fields) - set(Policy.model_fields) == {
        "access",
        "type",
        "enabled",
        "isolate",
        "listen",
        "log_connections",
        "options",
    }


@pytest.mark.parametrize(("title", "terms"), [("Refused", Refusal), ("Dropped", Drop), ("Ended", Outcome)])
def test_logging_page_explains_every_reason_once(title: str, terms: Any) -> None:
    assert sorted(names_in_the_table_of(title)) == sorted(get_args(terms))


def test_readme_shows_an_explanation_as_netd_gives_it() -> None:
    line = f"192.0.2.7:53 at echo/udp is not served: reply_guard, {EXPLANATIONS['source_port']}\n"
    assert line in (ROOT / "README.md").read_text()


def section_on_logging(title: str) -> str:
    """The text below a title of the page about logging, up to the next title."""
    page = (ROOT / "docs" / "logging.md").read_text()
    found = re.search(rf"^##+ {title}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def names_in_the_table_of(title: str) -> list[str]:
    """The names in the first column of the table below a title of that page."""
    rows = re.findall(r"^\|(.*?)\|", section_on_logging(title), re.MULTILINE)
    return re.findall(r"`(\w+)`", "".join(rows))


def test_every_dependency_has_its_line() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    text = (ROOT / "docs" / "dependencies.md").read_text()
    for section, key in (
        ("options", "install_requires"),
        ("options.extras_require", "plot"),
        ("options.extras_require", "dev"),
    ):
        for line in setup[section][key].split("\n"):
            if name := re.match(r"[\w-]+", line):
                assert f"| {name[0]} |" in text, name[0]


def test_changelog_has_no_item_twice_and_no_empty_line_between_items() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    items = [item.strip() for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]]
    assert len(items) == len(set(items))
    lines = text.splitlines()
    after_a_gap = [
        line
        for before, gap, line in zip(lines, lines[1:], lines[2:], strict=False)
        if not gap and line.startswith("- ") and not before.endswith(":")
    ]
    assert after_a_gap == []
