"""The comparison of two configs, and that it reads only what differs."""

import json
import tempfile
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netd.admission.access_memory import AccessPlace
from netd.admission.access_table import Access
from netd.config import loader
from netd.config.model import Config
from netd.daemon.supervisor.config_diff import Change, ConfigDiff, compare, from_nothing, restore
from netd.steps import finish


def load(tmp_path: Path, access: str, defaults: str = "", limits: str = "") -> Config:
    (tmp_path / "netd.yaml").write_text(
        f"defaults: {{access: {{{defaults}}}, limits: {{{limits}}}}}\nservices:\n"
        f"  echo: {{listen: ['unix://@e'], access: {{{access}}}}}\n"
        "  same: {type: echo, listen: ['unix://@s']}\n"
        "  upper: {listen: ['unix://@u']}\n"
    )
    return loader.load(tmp_path / "netd.yaml")


def read(text: str) -> Config:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "netd.yaml").write_text(text)
        return loader.load(Path(directory) / "netd.yaml")


def diff(old: Config, new: Config, initial: Config | None = None) -> ConfigDiff:
    return finish(compare(old, new, initial or old))


NONE: frozenset[str] = frozenset()


def changed(service: str, *details: str) -> Change:
    return Change(service, "changed", details)


def test_rules_that_differ_are_listed_as_they_are_written(tmp_path: Path) -> None:
    old = load(tmp_path, "deny: [10.0.0.0/8, 'uid:root'], times: ['08:00-18:00']")
    new = load(tmp_path, "deny: [10.0.0.0/8], allow: [any, 'gid:27'], times: ['08:00-18:00 UTC']")
    details = (
        "access.allow: [] -> [any, gid:27]",
        "access.deny: [10.0.0.0/8, uid:0] -> [10.0.0.0/8]",
        "access.times: [08:00-18:00] -> [08:00-18:00 UTC]",
    )
    found = diff(old, new)
    assert found.changes == (changed("echo", *details),)
    assert found.reconfigured == {"echo"}


def test_proxies_that_differ_are_listed_and_reconfigure_the_service() -> None:
    old, new, moved = (
        read(f"services:\n  echo: {{listen: ['unix://@e'], proxy_protocol: {given}}}\n")
        for given in ("null", "{from: [local]}", "{from: [local, 10.0.0.1]}")
    )
    found = diff(old, new)
    assert found.changes == (changed("echo", 'proxy_protocol: null -> {"from": ["local"]}'),)
    assert found.reconfigured == {"echo"}
    assert diff(new, moved).reconfigured == {"echo"}
    assert diff(new, new).reconfigured == NONE


def test_rules_of_defaults_change_each_service_that_has_them(tmp_path: Path) -> None:
    old, new = load(tmp_path, "deny: []"), load(tmp_path, "deny: []", "deny: [any]")
    detail = "access.deny: [] -> [any]"
    assert diff(old, new).changes == (changed("same", detail), changed("upper", detail))


def test_rules_are_read_only_where_they_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[AccessPlace] = []
    real = AccessPlace.read

    def counted(place: AccessPlace) -> Access:
        looked_at.append(place)
        return real(place)

    monkeypatch.setattr(AccessPlace, "read", counted)
    old, new = load(tmp_path, "deny: [any]", "deny: [local]"), load(tmp_path, "deny: []", "deny: [local]")
    assert diff(old, load(tmp_path, "deny: [any]", "deny: [local]")).changes == ()
    longer = load(tmp_path, "deny: [any]", "deny: [local]", "idle: 1m")
    assert diff(old, longer).changes[0] == changed("echo", "limits.idle: 5m -> 1m")
    assert looked_at == []
    assert [change.service for change in diff(old, new).changes] == ["echo"]
    assert looked_at == [old.services[0].access, new.services[0].access]


SERVICES = """
services:
  stays:    {type: echo, listen: ["unix://@stays"]}
  same_off: {type: echo, enabled: false, listen: ["unix://@same_off"]}
"""
ENDING = """
  removed:  {type: echo, listen: ["unix://@removed"], limits: {drain: 3s}}
  disabled: {type: echo, listen: ["unix://@disabled"], limits: {drain: 4s}}
  off:      {type: echo, enabled: false, listen: ["unix://@off"]}
"""


def test_service_that_is_no_longer_served_drains_as_its_old_config_has_it() -> None:
    old = read(SERVICES + ENDING)
    new = read(SERVICES + '  disabled: {type: echo, enabled: false, listen: ["unix://@d"], limits: {drain: 9s}}')
    found = diff(old, new)
    assert found.changes == (
        Change("disabled", "disabled", ("limits.drain: 4s -> 9s", "-unix://@disabled", "+unix://@d"), 4.0),
        Change("off", "removed", ()),
        Change("removed", "removed", (), 3.0),
    )
    assert found.draining == {"disabled": 4.0, "removed": 3.0}
    assert (found.new_counters, found.reconfigured) == (NONE, NONE)


def test_service_needs_new_counters_if_it_is_enabled_or_has_another_type() -> None:
    old = read(SERVICES + ENDING)
    new = read(SERVICES + ENDING.replace("off:      {type: echo, enabled: false", "off: {type: upper, enabled: true"))
    assert diff(old, new).changes == (Change("off", "enabled", ("type: echo -> upper",)),)
    assert (diff(old, new).new_counters, diff(old, new).reconfigured) == (frozenset({"off"}), NONE)
    typed = read(SERVICES.replace("stays:    {type: echo", "stays: {type: upper") + ENDING)
    assert diff(old, typed).changes == (changed("stays", "type: echo -> upper"),)
    assert (diff(old, typed).new_counters, diff(old, typed).reconfigured) == (
        frozenset({"stays"}),
        frozenset({"stays"}),
    )
    added = read(SERVICES + ENDING + '  more: {type: echo, listen: ["unix://@more"]}')
    assert (diff(old, added).new_counters, diff(old, added).draining) == (frozenset({"more"}), {})


def test_service_that_listens_elsewhere_or_is_written_in_another_way_is_not_reconfigured() -> None:
    old = read('services: {pingpong: {listen: ["unix://@a"]}}')
    moved = read('services: {pingpong: {listen: ["unix://@a?backlog=7", "unix://@b"]}}')
    details = ("-unix://@a", "+unix://@a?backlog=7", "+unix://@b")
    assert diff(old, moved).changes == (changed("pingpong", *details),)
    assert diff(old, moved).reconfigured == NONE
    written = read('services: {pingpong: {listen: ["unix://@a"], options: {framing: auto}}}')
    assert old.services[0] != written.services[0]
    assert (diff(old, written).changes, diff(old, written).reconfigured) == ((), NONE)
    framed = read('services: {pingpong: {listen: ["unix://@a"], options: {framing: chunk}}}')
    assert diff(old, framed).changes == (changed("pingpong", "options.framing"),)
    assert diff(old, framed).reconfigured == {"pingpong"}


def test_settings_are_applied_by_a_reload_or_need_a_restart() -> None:
    old = read("services: {}")
    new = read(
        "daemon: {workers: 2, chroot: /}\nlog: {connections: 'sample 3', format: json}\n"
        "bans: {duration: 1s}\nservices: {}"
    )
    found = diff(old, new)
    assert found.settings == ("daemon.workers: 1 -> 2", "log.connections: all -> sample 3", "bans.duration: 1m -> 1s")
    assert found.restart_needed == ("daemon.chroot", "log.format")
    assert diff(new, new, old).settings == ()
    assert diff(new, new, old).restart_needed == found.restart_needed, "until the restart"
    assert diff(new, old, old).restart_needed == ()


def test_socket_keeps_its_key_with_another_service_and_other_options() -> None:
    old = read("services: {echo: {listen: ['tcp://127.0.0.1:70', 'unix://@e']}}")
    new = read("services: {upper: {listen: ['tcp://127.0.0.1:70?backlog=7', 'unix://@u']}}")
    before, after = diff(new, old).sockets, diff(old, new).sockets
    [key] = before.keys() & after.keys()
    assert [(service.name, str(endpoint)) for service, endpoint in (before[key], after[key])] == [
        ("echo", "tcp://127.0.0.1:70"),
        ("upper", "tcp://127.0.0.1:70?backlog=7"),
    ]


def test_sockets_on_port_0_are_as_many_as_the_config_lists() -> None:
    services = "services: {{{}: {{type: echo, listen: ['tcp://127.0.0.1:0', 'tcp://127.0.0.1:0']}}}}"
    one, other = read(services.format("one")), read(services.format("other"))
    assert len(diff(one, one).sockets) == 2
    assert diff(one, one).sockets.keys() == diff(one, read(services.format("one"))).sockets.keys()
    assert not diff(one, one).sockets.keys() & diff(other, other).sockets.keys()


Entry = dict[str, Any] | None
SERVICE = st.none() | st.fixed_dictionaries(
    {
        "type": st.sampled_from(["echo", "upper", "time"]),
        "enabled": st.booleans(),
        "listen": st.lists(
            st.sampled_from(["tcp://127.0.0.1:0", "unix://@x{}", "unix://@y{}"]), min_size=1, max_size=3
        ),
        "limits": st.fixed_dictionaries(
            {"drain": st.sampled_from(["1s", "2s"]), "idle": st.sampled_from(["1m", "2m"])}
        ),
        "access": st.sampled_from([{}, {"deny": ["any"]}]),
    }
)
CONFIG = st.lists(SERVICE, max_size=4)


def config_of(entries: list[Entry]) -> Config:
    services = {
        f"s{number}": {**entry, "listen": sorted({url.format(number) for url in entry["listen"]})}
        for number, entry in enumerate(entries)
        if entry
    }
    return read(json.dumps({"services": services}))


@given(before=CONFIG, after=CONFIG)
def test_sets_of_a_diff_follow_from_the_service_before_and_after(before: list[Entry], after: list[Entry]) -> None:
    old, new = config_of(before), config_of(after)
    found = diff(old, new)
    changes = {change.service: change.what for change in found.changes}
    sockets = [service.name for service, _ in found.sockets.values()]
    for number, (was, will) in enumerate(zip_longest(before, after)):
        name = f"s{number}"
        on = bool(was and was["enabled"]), bool(will and will["enabled"])
        same_type = bool(was and will and was["type"] == will["type"])
        assert (name in found.draining) == (on == (True, False))
        assert (name in found.new_counters) == (on[1] and not (on[0] and same_type))
        ways = [one and {key: one[key] for key in ("type", "limits", "access")} for one in (was, will)]
        assert (name in found.reconfigured) == (on == (True, True) and ways[0] != ways[1])
        assert sockets.count(name) == (len(set(will["listen"])) if will and on[1] else 0)
        if was is None or will is None:
            assert changes.get(name) == (None if was is will else "added" if will else "removed")
        elif was["enabled"] != will["enabled"]:
            assert changes[name] == ("enabled" if on[1] else "disabled")
        else:
            same = ways[0] == ways[1] and set(was["listen"]) == set(will["listen"])
            assert changes.get(name) == (None if same else "changed")
    assert list(changes) == sorted(changes)
    restored = finish(restore(json.loads(json.dumps(found.dump())), new))
    assert restored == found, "a dumped diff is restored"


@settings(max_examples=30)
@given(entries=CONFIG)
def test_config_has_no_changes_from_itself_and_only_additions_from_nothing(entries: list[Entry]) -> None:
    config = config_of(entries)
    for same in (config, config_of(entries)):
        found = diff(config, same)
        assert (found.changes, found.new_counters, found.reconfigured, found.draining) == ((), NONE, NONE, {})
    every = finish(from_nothing(config))
    assert [change.what for change in every.changes] == ["added"] * len(config.services)
    assert every.new_counters == {service.name for service in config.enabled}
    assert (every.settings, every.restart_needed, every.reconfigured, every.draining) == ((), (), NONE, {})
    assert every.sockets == diff(config, config).sockets


def test_comparison_of_many_services_yields_after_each() -> None:
    entries = {f"s{number}": {"type": "echo", "listen": [f"unix://@{number}"]} for number in range(100)}
    config = read(json.dumps({"services": entries}))
    nothing = config.model_copy(update={"services": ()})
    found = diff(nothing, config)
    for work in (compare(nothing, config, config), restore(found.dump(), config)):
        assert sum(1 for _ in work) == 200, "once per service for its change, and once for its sockets"
