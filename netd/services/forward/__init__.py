"""forward: passes connections and datagrams on to other services, as redirect of xinetd, socat or a proxy do.

Read `target` and `options` (with `to_tls`) first, then `balance`, `state`, `health` and `names`. The connections are
the transport's.
"""

from collections.abc import Callable
from typing import Any

from netd.contract import Context
from netd.services.forward.balance import ordered, ranks_for
from netd.services.forward.names import Names
from netd.services.forward.options import ForwardOptions
from netd.services.forward.state import Targets
from netd.services.forward.target import Kind, Target
from netd.telemetry.forward_events import COUNTERS


class Forward:
    """Passes each connection, or the datagrams of each peer, on to one of several targets."""

    forwards = True
    counters = COUNTERS
    Options = ForwardOptions

    def __init__(self, options: ForwardOptions, context: Context) -> None:
        self.options = options
        self.targets = Targets(options.to, is_checked=options.check is not None)
        self.names = Names(context.resolve, options.resolve)
        kinds: tuple[Kind, ...] = ("stream", "datagram")
        self._numbers = {
            kind: [number for number, target in enumerate(options.to) if target.kind == kind] for kind in kinds
        }
        self.tls: dict[Target, Any] = {}
        """Makes attempts for targets with TLS (`netd.transport.stream.tls_connecting`). The worker sets it."""
        self.is_own: Callable[[Any], bool] = lambda connected: False
        """Whether a connected socket leads to a listener of this netd. The worker sets it."""
        self.on_down: set[Callable[[int], object]] = set()
        """Called with the number of a target that a check of this process has found down."""
        self.urls = [str(target) for target in options.to]
        """Those of the targets, by number."""
        self._turn = -1

    def candidates(self, kind: Kind, source: str, now: float) -> list[int]:
        """The numbers of the targets for a connection of this source, in the order in which to try them.

        Those that rest come last: they are tried where no other one can be reached. Those that are out of service are
        not among them.
        """
        numbers = self._numbers[kind]
        if len(numbers) == 1:
            return self.targets.in_service(numbers)
        self._turn += 1
        options, targets = self.options, self.targets
        ranks = ranks_for(source, self.urls) if options.balance == "source" else ()
        active = targets.active() if options.balance == "least" else ()
        usable = ordered(options.balance, targets.usable(now, numbers), self._turn, active, ranks)
        return usable if len(usable) == len(numbers) else usable + targets.resting(now, numbers)

    def take_over(self, before: "Forward") -> None:
        """Continue with what is known of the targets of the service before."""
        self.targets.take_over(before.targets)
        self.names.take_over(before.names, frozenset(target.host for target in self.options.to if target.is_name))
