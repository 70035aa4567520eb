"""The service `metrics`, with fixed answers of the supervisor."""

from typing import Any

from netd.contract import Context
from netd.services import table
from netd.shared.table import Counts
from tests.telemetry.statuses import status

STATUS = status({"echo": Counts(accepted=3)})
HISTORY = {"times": [1.5], "services": {"echo": {"requests": [3]}}}
SAID = {"status": STATUS, "history": HISTORY}


def metrics_service(**context: Any) -> Any:
    kind = table.find("metrics")
    assert kind
    return kind.build(kind.options(), Context(inspect=SAID.__getitem__, **context))
