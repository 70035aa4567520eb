"""Admission to a sensor: a source that it admits has connected, and is to be banned."""

from collections.abc import Callable
from typing import Any

from netd.addresses import host_text
from netd.admission.control import AdmissionControl, Ticket
from netd.reasons import Refusal


class SensorControl(AdmissionControl):
    """The admission to a sensor, which reports each source that it admits, unless that is exempt."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.on_exempt: Callable[[str, str], object] = lambda source, rule: None
        """Called with a source that is exempt, and the rule that says so."""

    def admit(
        self, address: bytes, now: float, busy: Refusal | None = None, *, placed: bool = False
    ) -> Ticket | Refusal:
        admitted = super().admit(address, now, busy, placed=placed)
        if not isinstance(admitted, str):
            if rule := self.exempts(address):
                self.on_exempt(host_text(address), rule)
            else:
                self._shared.report_visitor(address, self._name)
        return admitted

    def exempts(self, address: bytes) -> str:
        """The rule by which this address is not banned; empty: there is none."""
        for key, networks in (("limits.exempt", self._exempt), ("bans.exempt", self._shared.exempt)):
            if (text := networks.find(address)) is not None:
                return f"{key}: {text}"
        return ""
