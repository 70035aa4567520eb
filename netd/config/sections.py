"""The sections of a config while it is loaded: each is checked against its model, problems are collected.

Every problem and notice has its place in the file, and a section with problems does not hide those of another one.
"""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import ValidationError

from netd.admission.access import AccessRules
from netd.config.bounds import Bound
from netd.config.model_errors import describe, exists, is_section, model_at, unknown_key
from netd.config.problems import Finding, InvalidConfigError, Problem, Where
from netd.config.rules import resolve_accounts
from netd.config.source import Source
from netd.values import Model

_MOST_PROBLEMS = 100

M = TypeVar("M", bound=Model)


class Sections:
    """What was found in the sections that were checked so far, of all files of a config."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notices: list[Problem] = []
        self._totals: Counter[Bound] = Counter()

    def error(self) -> InvalidConfigError:
        """The problems, sorted by file and line; those above a bound are counted only."""
        problems = sorted(self.problems, key=lambda problem: problem.mark)
        return InvalidConfigError(problems[:_MOST_PROBLEMS], self.notices, max(0, len(problems) - _MOST_PROBLEMS))

    def add_problem(self, part: Source, path: Where, message: str, hint: str = "", *, key: bool = False) -> None:
        """Add a problem of the value at ``path``, or, with ``key``, of its key."""
        if path not in part.unreadable:  # a value that could not be read has a message already
            self.problems.append(Problem(part.mark(path, key=key), path, message, hint))

    def add_findings(self, part: Source, path: Where, found: Iterable[Finding]) -> None:
        """Add what was found in the section at ``path``."""
        for where, message, hint, is_notice, mark in found:
            problem = Problem(mark or part.mark((*path, *where)), (*path, *where), message, hint)
            (self.notices if is_notice else self.problems).append(problem)

    def within(self, part: Source, path: Where, bound: Bound, number: int = 1) -> bool:
        """Count ``number`` more of something, and return whether the bound holds. The first excess is a problem."""
        self._totals[bound] += number
        total = self._totals[bound]
        if total - number <= bound.most < total:
            self.add_problem(part, path, f"more than {bound.most} {bound.what}", key=True)
        return total <= bound.most

    def check(self, part: Source, path: Where, value: Any, model: type[M]) -> M | None:
        """The section at ``path``, or None after its problems were added."""
        if value is None:
            value = {}  # a section with all lines commented out
        elif isinstance(value, dict):
            value = {key: inner for key, inner in value.items() if inner is not None or not is_section(model, key)}
        try:
            if issubclass(model, AccessRules):
                return model.model_validate(value)
            # As JSON, from which strict models accept a list for a tuple and a string for a path.
            return model.model_validate_json(json.dumps(value))
        except ValidationError as error:
            for item in error.errors(include_url=False):
                where = (*path, *item["loc"])
                match item["type"]:
                    case "extra_forbidden":
                        fields = model_at(model, item["loc"][:-1]).model_fields
                        known = [field.alias or name for name, field in fields.items()]
                        self.add_problem(part, where, *unknown_key(str(where[-1]), known), key=True)
                    case "missing":
                        self.add_problem(part, where[:-1], f"the key '{where[-1]}' is missing", key=True)
                    case _:
                        # For a union of types, pydantic appends the type that it tried to the path.
                        while not exists(part.tree, where):
                            where = where[:-1]
                        for fault in describe(item):
                            self.add_problem(part, where, fault.message, fault.hint)
            return None

    def check_with_rules(
        self, part: Source, path: Where, value: Any, model: type[M]
    ) -> tuple[M | None, AccessRules | None]:
        """A section and its access rules, checked apart, so that a problem in one does not hide those in the other."""
        given = None
        if isinstance(value, dict):
            given = value.get("access")
            value = {key: inner for key, inner in value.items() if key != "access"}
        section = self.check(part, path, value, model)
        path = (*path, "access")
        rules = self.check(part, path, given, AccessRules)

        def add_problem(key: str, number: int, message: str) -> None:
            self.add_problem(part, (*path, key, number), message)

        return section, rules and resolve_accounts(rules, add_problem)
