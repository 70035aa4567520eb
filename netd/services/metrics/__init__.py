"""metrics: the state and counters of netd over HTTP, for Prometheus, load balancers and browsers.

HTTP and Prometheus are imported, and the page is read, only if the config has such a service: other daemons need no
memory for them. The check of the config builds the service before netd forks workers and changes its root, so that all
of it is loaded then. `http.py` answers; the files of the page are in `page/`.
"""

from functools import cache
from pathlib import Path
from typing import Any

from netd.contract import Context
from netd.values import Model

_PAGE = Path(__file__).parent / "page"


class Metrics:
    """Shows the state of netd over HTTP: a live page at /, /metrics for Prometheus, /healthz and /readyz.

    GET and HEAD are served, one request a connection. `/healthz` is 200 while every worker, but those of `isolate`,
    responds to heartbeats, `/readyz` while every enabled service is served; else they are 503.
    docs/reference/metrics.md lists the metrics, docs/reference/json.md the fields of `/status.json` and
    `/history.json`. On loopback only requests for the `Host` `localhost` or an address are answered, so that no web
    site can read them through a browser on the host.
    """

    client_speaks_first = True
    polled = True

    class Options(Model):
        """Options of ``metrics``; there are none."""

    def __init__(self, options: Options, context: Context) -> None:
        try:
            from netd.services.metrics.http import Request, Site

            files = _files()
        except (ImportError, OSError) as error:
            raise ValueError(f"{error}; a netd in a chroot has to be started with it, on or off") from error
        self._request = Request
        self._site = Site(files, context.inspect)
        self._clock = context.clock

    def handler(self, request: Any, client_address: Any, server: Any) -> object:
        return self._request(self._site, self._clock, request, client_address, server)


@cache
def _files() -> dict[str, bytes]:
    """The files of the page, by name."""
    return {file.name: file.read_bytes() for file in _PAGE.iterdir() if not file.name.startswith(".")}
