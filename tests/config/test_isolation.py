"""Services with `isolate` in a config."""

from pathlib import Path

import pytest

from netd.config import bounds, loader
from netd.config.bounds import Bound
from netd.config.model import Config
from netd.config.problems import InvalidConfigError
from netd.shared.memory import MOST_ISOLATED

CODE = "class Echo:\n    def datagram(self, data, peer):\n        return data\n"


def load(directory: Path, entry: str, number: int = 1) -> Config:
    (directory / "echo.py").write_text(CODE)
    services = "".join(f"  s{one}: {entry.replace('FILE', f'{directory}/echo.py')}\n" for one in range(number))
    (directory / "netd.yaml").write_text(f"services:\n{services}")
    return loader.load(directory / "netd.yaml")


def python(isolate: str) -> str:
    return f"{{type: python, isolate: {isolate}, listen: ['udp://127.0.0.1:0'], options: {{class: 'FILE:Echo'}}}}"


def test_python_service_may_have_a_worker_of_its_own(tmp_path: Path) -> None:
    assert [one.isolate for one in load(tmp_path, python("true")).services] == [True]
    assert [one.isolate for one in load(tmp_path, python("false")).services] == [False]


def test_service_of_another_type_may_not(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError) as raised:
        load(tmp_path, "{type: echo, isolate: true, listen: ['udp://127.0.0.1:0']}")
    [problem] = raised.value.problems
    message = "services.s0.isolate: only 'python' services can have a worker of their own, not 'echo'"
    assert str(problem).endswith(message)


def test_number_of_such_services_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bounds.ISOLATED.most == MOST_ISOLATED
    monkeypatch.setattr("netd.config.services.ISOLATED", Bound(2, "services with isolate"))
    assert len(load(tmp_path, python("true"), 2).services) == 2
    with pytest.raises(InvalidConfigError, match=r"services\.s2\.isolate: more than 2 services with isolate"):
        load(tmp_path, python("true"), 3)
