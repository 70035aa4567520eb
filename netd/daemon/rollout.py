"""Putting a config in force: in every worker or in none."""

from typing import Any

from netd.config.model import Config
from netd.daemon import plan
from netd.daemon.channel import Message
from netd.daemon.crew import Crew
from netd.daemon.fork import Member, WorkerError
from netd.daemon.listeners import Listeners, Numbered, Pending
from netd.daemon.state import State
from netd.errors import OpenError


class Rollout:
    """Brings workers to what is in force, and what is in force to a new config. ``user`` is who the workers are."""

    def __init__(self, state: State, listeners: Listeners, crew: Crew, user: str) -> None:
        self._state = state
        self._listeners = listeners
        self._crew = crew
        self._user = user

    def install(self, member: Member) -> None:
        """Bring a new worker up to date. `WorkerError` says why it cannot be."""
        state = self._state
        numbered = list(self._listeners)
        message, descriptors = self._message(state.config, numbered, numbered, set(state.names), set(state.names))
        bans = {"do": "ban", "bans": state.bans_until()}
        ledger = [state.ledger.descriptor]
        for step, files in (({"do": "ledger"}, ledger), (bans, []), (message, descriptors), ({"do": "commit"}, [])):
            answer = self._crew.ask(step, files, [member]).get(member, {"error": "a worker died while it started"})
            if "error" in answer:
                raise WorkerError(f"worker (user {self._user}): {answer['error']}")

    def apply(self, config: Config, overrides: dict[str, bool]) -> None:
        """Put a config in force in two phases. An `OperatorError` or `CommandError` means that nothing has changed."""
        state = self._state
        effective = state.effective(config, overrides)
        pending = self._listeners.prepare(effective)
        try:
            self._prepare_workers(effective, pending)
        except BaseException:
            self._crew.ask({"do": "abort"})
            self._listeners.abort(pending)
            raise
        self._crew.ask({"do": "commit"})
        enabled = {service.name for service in effective.enabled}
        gone = {
            service.name: service.policy.limits.drain for service in state.config.enabled if service.name not in enabled
        }
        if gone and self._crew.leaving:
            self._crew.ask({"do": "retire", "services": gone}, members=self._crew.leaving)
        self._listeners.commit(pending)
        state.adopt(config, overrides)
        for one in pending.new:
            state.tell_listening(one.listener)

    def _prepare_workers(self, config: Config, pending: Pending) -> None:
        old = {service.name: service for service in self._state.config.enabled}
        changed = {new.name for new in config.enabled if new.name in old and plan.serves_otherwise(old[new.name], new)}
        unknown = {service.name for service in config.enabled} - old.keys()
        all_of_them = [one for ones in pending.places.values() for one in ones]
        message, descriptors = self._message(config, all_of_them, pending.new, changed, unknown)
        asked = [member for member in self._crew.members.values() if not member.gone]
        answers = self._crew.ask(message, descriptors, asked)
        for member in asked:
            answer = answers.get(
                member, {"error": "it did not get ready in time; what it takes is too much, or it died"}
            )
            if "error" in answer:
                raise OpenError([f"worker (user {self._user}): {answer['error']}"])

    def _message(
        self, config: Config, all_of_them: list[Numbered], new: list[Numbered], changed: set[str], unknown: set[str]
    ) -> tuple[Message, list[int]]:
        """What a worker needs to serve ``config``, of which it has all but what is ``new``, ``changed`` or ``unknown``.

        The descriptors that go with it are new listeners, and the counters of services it has not served.
        """
        services: list[Message] = []
        rules: dict[str, int] = {}  # most services have those of the defaults, which may be long
        names: list[tuple[str, Any]] = [("listener", one.number) for one in new]
        descriptors = [one.listener.socket.fileno() for one in new]
        for service in config.enabled:
            services.append(
                {
                    "name": service.name,
                    "type": service.type,
                    "options": service.given,
                    "policy": service.policy.model_dump_json(exclude={"access"}),
                    "access": rules.setdefault(service.policy.access.model_dump_json(), len(rules)),
                    "listeners": [one.number for one in all_of_them if one.listener.service == service.name],
                    "changed": service.name in changed,
                }
            )
            if service.name in unknown:
                names.append(("counters", service.name))
                descriptors.append(self._state.table(service.name).descriptor)
        common = {
            "log_access": config.log.access,
            "access": list(rules),
            "connections": config.daemon.connections,
            "bans": config.bans.model_dump_json(),
        }
        return {"do": "prepare", "services": services, "descriptors": names, **common}, descriptors
