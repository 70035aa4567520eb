"""deploy/kubernetes: the manifests fit the published schemas, and netd does what they take for granted."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from netd.values import parse_duration
from tests.source_tree import ROOT
from tests.support.daemon import Daemon
from tests.support.directories import open_directory
from tests.support.programs import need, started
from tests.support.users import as_unprivileged_user

MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/netd.yaml").read_text()))
OF_KIND = {one["kind"]: one for one in MANIFESTS}
POD = OF_KIND["Deployment"]["spec"]["template"]["spec"]
NETD, RELOAD = POD["containers"]
CONFIG = OF_KIND["ConfigMap"]["data"]["netd.yaml"]
VERSIONS = ("1.30", "1.37")  # the first with a `sleep` of preStop, and the last of which there are schemas


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", OF_KIND)
def test_manifest_fits_the_schema(kind: str, version: str) -> None:
    assert kubernetes_validate.validate(OF_KIND[kind], version, strict=True) == version


def test_schema_refuses_a_key_that_it_does_not_know() -> None:
    broken = {**OF_KIND["Service"], "spec": {**OF_KIND["Service"]["spec"], "externalTrafficPolcy": "Local"}}
    with pytest.raises(kubernetes_validate.ValidationError, match="externalTrafficPolcy"):
        kubernetes_validate.validate(broken, "1.30", strict=True)


def test_pod_has_time_to_drain() -> None:
    before = NETD["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = parse_duration(yaml.safe_load(CONFIG)["daemon"]["drain"])
    assert POD["terminationGracePeriodSeconds"] >= before + drain + 5


def test_ports_of_pod_and_service_are_those_of_the_config() -> None:
    urls = [url for service in yaml.safe_load(CONFIG)["services"].values() for url in service["listen"]]
    listened = {(url.partition("://")[0], int(url.rpartition(":")[2])) for url in urls}
    named = {port["name"]: (port.get("protocol", "TCP").lower(), port["containerPort"]) for port in NETD["ports"]}
    assert set(named.values()) == listened
    for port in OF_KIND["Service"]["spec"]["ports"]:
        assert named[port["targetPort"]][0] == port.get("protocol", "TCP").lower()
    for probe in ("readinessProbe", "livenessProbe"):
        assert NETD[probe]["httpGet"]["port"] in named


def test_pod_runs_the_image_of_containerfile_as_its_user() -> None:
    image = (ROOT / "Containerfile").read_text()
    assert f"\nUSER {POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}\n" in image
    assert NETD["args"][0] == "run"
    assert '\nENTRYPOINT ["/usr/bin/netd"]\n' in image


def test_both_containers_have_one_directory_for_the_control_socket() -> None:
    [variable] = NETD["env"]
    assert RELOAD["env"] == NETD["env"]
    assert variable["name"] == "RUNTIME_DIRECTORY"
    assert variable["value"].startswith("/dev/shm/")


def publish(directory: Path, name: str, text: str) -> None:
    """Put a config into a mounted ConfigMap as a kubelet does: one link of the directory is exchanged."""
    (directory / name).mkdir()
    (directory / name / "netd.yaml").write_text(text)
    link = directory / "..data_tmp"
    link.symlink_to(name)
    link.rename(directory / "..data")
    if not (directory / "netd.yaml").is_symlink():
        (directory / "netd.yaml").symlink_to("..data/netd.yaml")


@pytest.fixture
def mounted() -> Iterator[Path]:
    """A directory with the config, on free ports of loopback, beside a /dev/shm."""
    with open_directory() as directory:
        (directory / "shm").mkdir()
        (directory / "shm").chmod(0o1777)
        (directory / "etc").mkdir()
        publish(directory / "etc", "..1", for_here(CONFIG))
        yield directory


def for_here(text: str) -> str:
    """The config on free ports of loopback."""
    config = yaml.safe_load(text)
    for service in config["services"].values():
        service["listen"] = [url.partition("://")[0] + "://127.0.0.1:0" for url in service["listen"]]
    return yaml.safe_dump(config)


def variables(directory: Path) -> dict[str, str]:
    """The environment of both containers."""
    return {"RUNTIME_DIRECTORY": f"{directory}/shm/netd", "NETD_CONTROL": ""}


@pytest.mark.slow  # a daemon
def test_probes_are_answered_by_a_netd_without_rights(mounted: Path) -> None:
    command = as_unprivileged_user()
    with Daemon("-c", f"{mounted}/etc/netd.yaml", command=command, **variables(mounted)) as netd:
        netd.event("netd_started")
        for probe in ("readinessProbe", "livenessProbe"):
            path = NETD[probe]["httpGet"]["path"]
            with urllib.request.urlopen(f"http://127.0.0.1:{netd.port('metrics')}{path}", timeout=10) as answer:
                assert answer.status == 200
        assert netd.stop() == 0


@pytest.mark.slow  # a daemon
def test_changed_config_map_is_in_force_without_a_restart(mounted: Path) -> None:
    need("sh")
    script = RELOAD["args"][0].replace("/etc/netd", f"{mounted}/etc").replace("while sleep 5", "echo; while sleep 0.05")
    words = [*RELOAD["command"], script]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **variables(mounted), "PATH": path}
    with Daemon("-c", f"{mounted}/etc/netd.yaml", **variables(mounted)) as netd:
        netd.event("netd_started")
        with started(*words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout
            assert process.stdout.readline() == b"\n"  # it has seen the first one
            publish(mounted / "etc", "..2", "services: {echo: {listen: 7}}")
            netd.event("reload_rejected")
            publish(mounted / "etc", "..3", for_here(CONFIG.replace("log:", "bans: {threshold: off}\nlog:")))
            assert netd.event("reload_applied")["settings"] == ["bans.threshold: 100/m burst 100 -> off"]
        assert netd.stop() == 0
    assert sum(line["event"] == "reload_rejected" for line in netd.lines) == 1
