"""The JSON Schema accepts and refuses the same configs as the loader, as far as a schema can."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from netd.config.loader import BUILT_IN_FILE
from netd.config.schema import json_schema
from netd.services import table
from netd.services.check import Check

CONFIG = Path(__file__).parents[2] / "config"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def test_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("file", [CONFIG / "netd.yaml", BUILT_IN_FILE])
def test_shipped_configs_match_the_schema_and_refer_to_it(file: Path) -> None:
    assert file.read_text().startswith("# yaml-language-server: $schema=netd.schema.json\n")
    VALIDATOR.validate(yaml.safe_load(file.read_text()))


def test_schema_beside_the_config_is_the_one_that_netd_prints() -> None:
    assert json.loads((CONFIG / "netd.schema.json").read_text()) == json_schema(), (
        "run: netd schema > config/netd.schema.json"
    )


@pytest.mark.parametrize(
    "text",
    [
        "service: {}",
        "daemon: {drain: soon}",
        "log: {level: loud}",
        "defaults: {limits: {idel: 5m}}",
        "defaults: {limits: {idle: 5}}",
        "services: {echo: {}}",
        "services: {echo: {listen: []}}",
        "services: {echo: {listen: [tcp://*]}}",
        "services: {echo: {listen: [tcp://*:7], options: {x: 1}}}",
        "services: {time: {listen: [tcp://*:7], options: {encoding: ntp}}}",
        "services: {x: {type: time, listen: [tcp://*:7], options: {encoding: ntp}}}",
        "services: {x: {type: echo, listen: [tcp://*:7], options: {encoding: text}}}",
        "services: {chat: {listen: [tcp://*:7], options: {colors: {alex: {fg: pink}}}}}",
        "services: {exec: {listen: [tcp://*:7], options: {command: /bin/cat}}}",
        "services: {exec: {listen: [tcp://*:7], options: {command: [cat]}}}",
        "services: {exec: {listen: [tcp://*:7], options: {command: [/bin/cat, 7]}}}",
        "services: {exec: {listen: [tcp://*:7], options: {command: [/bin/cat], stderr: nowhere}}}",
        "services: {exec: {listen: [tcp://*:7], options: {command: [/bin/cat], limits: {processes: 7}}}}",
        "services: {'a b': {type: echo, listen: [tcp://*:7]}}",
        "services: []",
    ],
)
def test_invalid_config_does_not_match(text: str) -> None:
    assert not VALIDATOR.is_valid(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "services: {x: {type: time, listen: [tcp://*:7], options: {encoding: rfc868}}}",
        "services: {echo: {type: time, listen: [tcp://*:7], options: {encoding: rfc868}}}",
        "services: {chat: {listen: [tcp://*:7], options: {colors: {alex: {fg: yellow, bg: green}}, color: on}}}",
        "services: {exec: {listen: [tcp://*:7], options: {command: [/bin/cat], stderr: null, umask: 022}}}",
        "services: {exec: {listen: [tcp://*:7], options: {command: [/bin/cat], umask: '077', environment: {A: x}}}}",
        "services: {exec: {listen: [tcp://*:7], options: {command: [/bin/cat], limits: {memory: 4GiB, core: 0}}}}",
        "services: {x: {type: from-a-package, listen: ['unix://@x'], options: {anything: 1}}}",
        "include:\ndaemon:\nlog:\ndefaults:\nservices:\n",
        "services: {echo: {type: , listen: [tcp://*:7], limits: , options: }}",
        "defaults: {limits: {idle: off, connections: 64, line: 1KiB}}",
        "daemon: {user: 65534, group: nogroup}",
        "x-anything: [1, {a: b}]",
    ],
)
def test_valid_config_matches(text: str) -> None:
    VALIDATOR.validate(yaml.safe_load(text))


def test_defaults_in_the_schema_are_valid_values() -> None:
    schema = json_schema()
    seen = 0
    for place in (schema, *schema["$defs"].values()):
        for name, shown in place.get("properties", {}).items():
            if "default" in shown:
                seen += 1
                one = {"$schema": schema["$schema"], "$defs": schema["$defs"], **shown}
                jsonschema.Draft202012Validator(one).validate(shown["default"])
                assert shown["default"] is not None, name
    assert seen > 25


def test_option_without_a_default_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table.BUILT_IN, "check", Check)
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.validate(yaml.safe_load("services: {check: {listen: [tcp://*:7], options: {command: [/bin/true]}}}"))
    for options in ("{}", "{command: true}", "{command: [/bin/true], cache: soon}"):
        assert not validator.is_valid(
            yaml.safe_load(f"services: {{check: {{listen: [tcp://*:7], options: {options}}}}}")
        )
