"""A config that was prepared."""

from netd.admission.bans import BanRules
from netd.admission.daemon import DaemonBounds
from netd.daemon.worker.prepared_config import PreparedConfig


def test_prepared_configs_share_nothing() -> None:
    first, second = (PreparedConfig(DaemonBounds(), BanRules(), {}) for _ in range(2))
    first.listeners.add(1)
    first.tables["x"] = None  # type: ignore[assignment]
    assert (second.listeners, second.tables, second.servers) == (set(), {}, [])
