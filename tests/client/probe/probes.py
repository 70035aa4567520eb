"""Probes with given results, for the tests of figures and outputs."""

from random import Random

from netd.client.probe.outcomes import Outcome
from netd.client.probe.poller import Poller
from netd.client.probe.probing import Plan, Probe
from netd.client.probe.questions import find_question
from netd.client.probe.targets import Target
from netd.endpoints import Endpoint

INTERVAL = 10**8


def probe_of(url: str, *results: int, service: str = "echo", began: int = 0) -> Probe:
    """The probe of a target without an address, with these results of its questions: nanoseconds, or an `Outcome`."""
    poller = Poller()
    poller.close()
    question = find_question(service, 64, streams=True, random=Random(1))
    plan = Plan(INTERVAL, 10**9, len(results))
    made = Probe(Target(Endpoint.parse(url), ()), service, question, plan, poller, 1, 0)
    made.began = began
    for result in results:
        number = made.tally.ask()
        if result >= 0:
            made.tally.answer(number, result)
        elif result != Outcome.WAITING:
            made.tally.lose(number, Outcome(result))
    return made
