"""The place of a hang or a crash, from stacks as faulthandler writes them."""

from pathlib import Path

import pytest

from netd import config
from netd.config.loader import load
from netd.daemon.supervisor.stacks import culprit
from netd.services import echo
from tests.daemon.configs import write

ROOT = Path(config.__file__).parents[1]
STACK = """Fatal Python error: Aborted

Thread 0x00007f00 (most recent call first):
  File "python/socket.py", line 1 in recv
  File "plugs/handler.py", line 2 in handle
  File "{root}/transport/stream/threaded.py", line 3 in _handle

Current thread 0x00007f01 (most recent call first):
{frames}  File "{root}/transport/loop.py", line 116 in run
  File "{root}/daemon/worker/worker.py", line 50 in run

Extension modules: _cffi_backend (total: 1)
"""


def stack(*frames: tuple[str, int, str]) -> str:
    lines = [f'  File "{file}", line {line} in {function}\n' for file, line, function in frames]
    return STACK.format(root=ROOT, frames="".join(lines))


CALLER = (f"{ROOT}/transport/stream/conversation.py", 88, "_advance")


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (stack(("plugs/plug.py", 105, "stream"), CALLER), {"at": "plug.py:105 in stream"}),
        (
            stack(("python/ssl.py", 9, "read"), ("plugs/plug.py", 105, "stream"), CALLER),
            {"at": "plug.py:105 in stream"},
        ),
        (stack((str(echo.__file__), 20, "datagram"), CALLER), {"at": "echo.py:20 in datagram", "services": "one, two"}),
        (
            stack(
                ("{tmp}/code.py", 7, "deeper"),
                ("{tmp}/code.py", 3, "handle"),
                ("python/socketserver.py", 755, "__init__"),
                (f"{ROOT}/services/python/running.py", 67, "run"),
                ("python/socketserver.py", 361, "finish_request"),
                CALLER,
            ),
            {"at": "code.py:3 in handle", "services": "four"},
        ),
        (stack(CALLER), {"at": "conversation.py:88 in _advance"}),
        ("", {}),
        ("Current thread", {}),
        ('  File "x', {}),
    ],
)
def test_place_is_that_of_the_service_which_netd_has_called(tmp_path: Path, text: str, fields: dict[str, str]) -> None:
    (tmp_path / "code.py").write_text("def handle(request, client_address, server): pass\n")
    write(
        tmp_path,
        "services:\n  one: {type: echo, listen: [tcp://*:7001]}\n  two: {type: echo, listen: [tcp://*:7002]}\n"
        "  three: {type: upper, listen: [tcp://*:7003]}\n"
        f"  four: {{type: python, listen: [tcp://*:7004], options: {{class: '{tmp_path}/code.py:handle'}}}}\n",
    )
    text = text.replace("{tmp}", str(tmp_path))
    assert culprit(text, load(tmp_path / "netd.yaml").enabled) == fields
