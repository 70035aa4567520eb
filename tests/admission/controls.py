"""Admission to a service on a fake clock, and what it decides of three peers."""

import json

from netd.addresses import parse_address
from netd.admission.control import AdmissionControl
from netd.admission.daemon import DaemonAdmission
from netd.reasons import Refusal
from netd.shared.table import Table
from tests.support.server import admission_for

A, B, LOCAL = map(parse_address, ("192.0.2.7", "198.51.100.9", "127.0.0.1"))


SUNDAY = 1795305600.0  # 2026-11-22 00:00 UTC


def admission(
    policy: str = "{}", shared: DaemonAdmission | None = None, table: Table | None = None, name: str = "echo"
) -> AdmissionControl:
    shared = shared or DaemonAdmission()
    table = table or Table()
    table.workers = shared.worker + 1
    return admission_for(name, json.loads(policy), table, shared, lambda: SUNDAY + 43200)


def admit(admission: AdmissionControl, address: bytes, now: float, busy: Refusal | None = None) -> Refusal | None:
    """Why a connection is refused; None: it is admitted."""
    admitted = admission.admit(address, now, busy)
    return admitted if isinstance(admitted, str) else None


def names(
    admission: AdmissionControl, address: bytes, port: int = 5353, now: float = 0.0, *, datagram: bool = False
) -> list[str]:
    """The checks that a peer fails."""
    return [check.name for check in admission.explain(address, port, now, datagram=datagram) if not check.passes]
