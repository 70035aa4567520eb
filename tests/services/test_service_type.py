"""The declarations of service classes: how a service is served, as a value."""

import pytest

from netd.contract import Context, Conversation
from netd.peer import Peer
from netd.services import table
from netd.services.service_type import DeclarationError, NoOptions, ServiceType
from netd.shared.table import CELL, COMMON, Layout
from netd.testing import PEER
from netd.values import Model
from tests.services.declarations import declares, method


@pytest.mark.parametrize(
    ("name", "serving", "datagrams", "more"),
    [
        ("chargen", "send_only", "answer", {"truncates"}),
        ("chat", "push", "push", {"single_worker", "takes_over", "truncates"}),
        ("check", "conversation", None, {"single_worker", "polled", "runs_program"}),
        ("daytime", "send_only", "answer", set()),
        ("discard", "conversation", "answer", set()),
        ("echo", "echo", "echo", set()),
        ("exec", "program", "program", set()),
        ("forward", "forward", "forward", {"takes_over"}),
        ("metrics", "thread", None, {"client_speaks_first", "polled"}),
        ("pingpong", "conversation", "answer", set()),
        ("python", "conversation", "answer", set()),
        ("qotd", "send_only", "answer", {"truncates"}),
        ("reply", "conversation", "answer", set()),
        ("sensor", "send_only", None, set()),
        ("systat", "send_only", "answer", {"truncates"}),
        ("tcpmux", "multiplex", None, {"single_worker"}),
        ("time", "conversation", "answer", {"truncates"}),
        ("upper", "conversation", "answer", set()),
        ("whoami", "conversation", "answer", {"truncates", "reads_ttl"}),
    ],
)
def test_built_in_types_are_what_their_classes_declare(
    name: str, serving: str, datagrams: str | None, more: set[str]
) -> None:
    kind = table.find(name)
    assert kind
    assert (kind.name, kind.serving, kind.datagrams) == (name, serving, datagrams)
    flags = ("single_worker", "takes_over", "truncates", "client_speaks_first", "polled", "reads_ttl", "runs_program")
    assert {flag for flag in flags if vars(kind)[flag]} == more
    assert kind.blocks == (serving == "thread")
    assert kind.converses == (serving not in ("thread", "asyncio", "program", "multiplex"))
    assert kind.starts_programs == (serving == "program" or kind.runs_program)
    assert (kind.layout == COMMON) == (not kind.starts_programs and serving != "forward")


def test_built_in_types_are_all_checked_above() -> None:
    [mark] = test_built_in_types_are_what_their_classes_declare.pytestmark  # type: ignore[attr-defined]
    assert {values[0] for values in mark.args[1]} == set(table.BUILT_IN)


def test_class_without_declarations_has_the_defaults() -> None:
    class Plain:
        """Says
        nothing.

        And more of it.
        """

        def stream(self, peer: Peer) -> Conversation:
            yield b"x"

    kind = ServiceType.of(Plain)
    assert (kind.name, kind.summary, kind.rfc, kind.options) == ("Plain", "Says nothing.", None, NoOptions)
    assert (kind.serving, kind.datagrams, kind.streams, kind.blocks) == ("conversation", None, True, False)
    assert kind.layout == COMMON
    assert type(kind.build(NoOptions(), Context())) is Plain
    assert ServiceType.of(Plain, "other").name == "other"


def test_class_with_options_is_built_with_them() -> None:
    class Sized:
        class Options(Model):
            size: int = 3

        def __init__(self, options: Options, context: Context) -> None:
            self.options, self.context = options, context

        def datagram(self, data: bytes, peer: Peer) -> bytes | None:
            return data[: self.options.size]

    kind, context = ServiceType.of(Sized), Context()
    assert kind.options is Sized.Options
    built = kind.build(kind.options.model_validate({"size": 2}), context)
    assert (built.datagram(b"abc", PEER), built.context) == (b"ab", context)
    assert (kind.serving, kind.streams, kind.converses, kind.datagrams) == (None, False, False, "answer")


def test_class_has_counters_of_its_own_behind_the_common_ones() -> None:
    base = declares(stream=method, counters=("started", "exited.0"))
    layout = ServiceType.of(base).layout
    assert layout == Layout(("started", "exited.0"))
    assert list(layout.cells) == [*CELL, "started", "exited.0"]
    assert ServiceType.of(type("Derived", (base,), {})).layout == layout
    assert ServiceType.of(type("Without", (base,), {"counters": None})).layout == COMMON
    assert ServiceType.of(declares(stream=method, counters=())).layout == COMMON


def test_class_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[type] = []

    class Watch(type):
        def __dir__(cls) -> list[str]:
            looked.append(cls)
            return list(super().__dir__())

    class Good(metaclass=Watch):
        stream = method

    class Bad(Good):
        reflect = True

    for one in (Good, Bad):
        looked.clear()
        for _ in range(2):
            try:
                ServiceType.of(one, "x")
            except DeclarationError:
                assert one is Bad
        before = len(looked)
        for _ in range(100):
            try:
                ServiceType.of(one, "x")
            except DeclarationError:
                assert one is Bad
        assert before == len(looked) > 0


@pytest.mark.parametrize(
    "attributes",
    [
        {"options": property(method)},  # an attribute for the class's own use
        {"options": {"a": 1}},
        {"handle": method},  # it has a stream, so this is no misspelt handler
        {"handlers": method},
        {"_reflect": True},
        {"limit": 3, "room": method, "port": 7, "name": "x", "timeout": 3.0, "close": method, "post": method},
        {"Options": Model, "options": method},
        {"datagram": method, "datagrams": method, "truncate": method, "truncat": method},
        {"truncate": None, "rfc": None, "handler": None, "Options": None},  # cancels the declaration of a base class
        {
            "reflects": False,
            "discards_input": False,
            "server_initiated": False,
            "client_speaks_first": False,
            "single_worker": True,
            "polled": True,
        },
    ],
)
def test_other_attributes_of_a_class_are_ignored(attributes: dict[str, object]) -> None:
    assert ServiceType.of(declares(stream=method, **attributes)).serving == "conversation"


def test_object_cannot_declare_what_its_class_does_not() -> None:
    class Late:
        def __init__(self) -> None:
            self.reflects = True

        def stream(self, peer: Peer) -> Conversation:
            yield b""

    kind = ServiceType.of(Late)
    with pytest.raises(ValueError, match=r"Late: 'reflects' has to be an attribute of the class, not of the object"):
        kind.build(NoOptions(), Context())


def test_object_may_have_a_method_that_its_class_declares() -> None:
    class Chosen:
        def __init__(self) -> None:
            vars(self)["stream"] = method

        def stream(self, peer: Peer) -> Conversation:
            yield b""

    assert ServiceType.of(Chosen).build(NoOptions(), Context()).stream is method


def test_service_type_without_a_class_is_a_value_too() -> None:
    """As for a service that is given by its options alone, such as a program to run."""

    class Command(Model):
        command: str = "x"

    kind = ServiceType("run", "Runs a program.", lambda options, context: options.command, "thread", options=Command)
    assert (kind.build(kind.options(), Context()), kind.streams, kind.datagrams) == ("x", True, None)


def test_program_is_a_way_to_serve() -> None:
    kind = ServiceType.of(declares(program=method))
    assert (kind.serving, kind.datagrams, kind.listens, kind.starts_programs) == ("program", None, False, True)
    assert not kind.converses
    kind = ServiceType.of(declares(program=method, listens=True))
    assert (kind.serving, kind.datagrams, kind.listens, kind.starts_programs) == ("program", "program", True, True)
    kind = ServiceType.of(declares(stream=method, runs_program=True))
    assert (kind.serving, kind.starts_programs, kind.converses) == ("conversation", True, True)
