"""The declarations of service classes, and the errors of invalid ones."""

import socketserver
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.contract import Context, Conversation
from netd.peer import Peer
from netd.services import table
from netd.services.echo import Echo
from netd.services.service_type import DeclarationError, NoOptions, ServiceType
from netd.shared.table import CELL, COMMON, Layout
from netd.testing import PEER
from netd.values import Model

FLAGS = (
    "reflects",
    "discards_input",
    "server_initiated",
    "client_speaks_first",
    "datagram_blocks",
    "single_worker",
    "polled",
    "reads_ttl",
    "listens",
    "forwards",
    "runs_program",
)
METHODS = ("stream", "datagram", "handler", "program", "take_over", "truncate")


def method(*arguments: object) -> Any:
    """Stands for any method of a service."""


def declares(**attributes: object) -> type:
    """A service class with these attributes."""
    return type("Shout", (), {"__module__": "netd_example", **attributes})


def faults(service: type) -> str:
    """The error of a class, without its name."""
    with pytest.raises(DeclarationError) as caught:
        ServiceType.of(service)
    assert str(caught.value) == f"{service.__module__}:{service.__qualname__}: {caught.value.faults}"
    return caught.value.faults


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
    ("attribute", "value", "right"),
    [
        ("reflect", True, "reflects"),
        ("reflect", "yes", "reflects"),
        ("Reflects", True, "reflects"),
        ("discard_input", True, "discards_input"),
        ("discardsInput", True, "discards_input"),
        ("server_initiatd", True, "server_initiated"),
        ("client_speak_first", True, "client_speaks_first"),
        ("single_workers", True, "single_worker"),
        ("rfcs", 862, "rfc"),
        ("RFC", 862, "rfc"),
        ("takeover", method, "take_over"),
        ("truncat", method, "truncate"),
        ("counter", ("started",), "counters"),
        ("Counters", ["started"], "counters"),
        ("datagrams", method, "datagram"),
        ("options", Model, "Options"),
        ("Option", Model, "Options"),
    ],
)
def test_misspelt_name_is_reported_with_the_right_one(attribute: str, value: object, right: str) -> None:
    message = faults(declares(stream=method, **{attribute: value}))
    assert message == f"'{attribute}' means nothing to netd; did you mean '{right}'? (else begin it with '_')"


@pytest.mark.parametrize("value", [True, False, None, method])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ignores_input", "discards_input"),
        ("unasked", "server_initiated"),
        ("peer_begins", "client_speaks_first"),
        ("one_worker", "single_worker"),
        ("inherit", "take_over"),
        ("shortened", "truncate"),
    ],
)
def test_former_name_of_a_declaration_is_reported_with_the_present_one(old: str, new: str, value: object) -> None:
    message = f"'{old}' is now called '{new}'"
    assert faults(declares(stream=method, **{old: value})) == message
    assert faults(type("Derived", (declares(stream=method, **{old: value}),), {})) == message


@pytest.mark.parametrize(
    ("attribute", "right"), [("handlers", "handler"), ("handle", "handler"), ("streams", "stream")]
)
def test_misspelt_method_is_reported_also_if_it_is_the_only_one(attribute: str, right: str) -> None:
    message = faults(declares(**{attribute: method}))
    assert f"'{attribute}' means nothing to netd; did you mean '{right}'?" in message
    assert message.endswith("it is not a class with stream, datagram, handler or program")


def test_misspelt_name_is_found_in_a_base_class() -> None:
    assert "did you mean 'server_initiated'?" in faults(
        type("Derived", (declares(stream=method, server_initiatd=True),), {})
    )


@given(trait=st.sampled_from([*FLAGS, *METHODS, "Options"]), data=st.data())
def test_wrong_letter_in_a_name_is_an_error(trait: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(trait) - 1))
    letter = data.draw(st.sampled_from(string.ascii_letters))
    wrong = data.draw(
        st.sampled_from(
            [
                trait[:place] + trait[place + 1 :],
                trait[:place] + letter + trait[place:],
                trait[:place] + letter + trait[place + 1 :],
            ]
        )
    )
    if wrong == trait or wrong.startswith("_"):
        return
    serves = {} if trait in ("stream", "handler", "program") else {"stream": method}
    declared = declares(**serves, **{wrong: True if trait in FLAGS else method})
    assert f"'{wrong}' means nothing to netd; did you mean '{trait}'?" in faults(declared)


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


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"reflects": "yes"}, "'reflects' has to be True or False, and is 'yes'"),
        ({"server_initiated": 1}, "'server_initiated' has to be True or False, and is 1"),
        ({"single_worker": method}, "'single_worker' has to be True or False, and is <function "),
        ({"client_speaks_first": property(method)}, "'client_speaks_first' has to be True or False, and is <property "),
        ({"rfc": "862"}, "'rfc' has to be the number of an RFC, and is '862'"),
        ({"rfc": True}, "'rfc' has to be the number of an RFC, and is True"),
        ({"rfc": 0}, "'rfc' has to be the number of an RFC, and is 0"),
        ({"datagram": method, "truncate": True}, "'truncate' has to be a method, and is True"),
        ({"take_over": "a"}, "'take_over' has to be a method, and is 'a'"),
        ({"datagram": True}, "'datagram' has to be a method, and is True"),
        ({"Options": dict}, "its Options are not a netd.values.Model"),
        ({"Options": 7}, "its Options are not a netd.values.Model"),
        ({"counters": "started"}, "'counters' has to be a tuple of names, and is 'started'"),
        ({"counters": ["started"]}, "'counters' has to be a tuple of names, and is ['started']"),
        ({"counters": ("started", 1)}, "'counters' has to be a tuple of names, and is ('started', 1)"),
        ({"counters": ("",)}, "'counters' has to be a tuple of names, and is ('',)"),
        ({"counters": ("a", "a")}, "'counters': a, a: this names a counter twice"),
        ({"counters": ("a", "closed.idle")}, "'counters': a, closed.idle: this names a counter twice"),
        ({"rfc": "x" * 1000}, f"'rfc' has to be the number of an RFC, and is '{'x' * 12}...{'x' * 13}'"),
    ],
)
def test_value_of_the_wrong_type_is_an_error(attributes: dict[str, object], message: str) -> None:
    assert faults(declares(**{"stream": method, **attributes})).startswith(message)


class Handler(socketserver.BaseRequestHandler):
    """Stands for any request handler."""


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"stream": method, "handler": Handler},
            "it has both 'stream' and 'handler': a connection is served by one of them",
        ),
        (
            {"stream": method, "program": method},
            "it has both 'stream' and 'program': a connection is served by one of them",
        ),
        (
            {"handler": Handler, "program": method},
            "it has both 'handler' and 'program': a connection is served by one of them",
        ),
        (
            {"datagram": method, "program": method, "listens": True},
            "it has both 'datagram' and 'program': a program gets the socket of datagrams",
        ),
        ({"stream": method, "listens": True}, "'listens' is for a class with 'program'"),
        ({"program": method, "runs_program": True}, "'runs_program' is for a class with 'stream'"),
        (
            {"stream": method, "reflects": True, "server_initiated": True},
            "it has both 'reflects' and 'server_initiated': a service that reflects is never called, so it never posts",
        ),
        (
            {"stream": method, "reflects": True, "discards_input": True},
            "it has both 'reflects' and 'discards_input': what is thrown away cannot be sent back",
        ),
        (
            {"datagram": method, "handler": Handler, "reflects": True},
            "it has both 'reflects' and 'handler': a service that reflects is never called",
        ),
        (
            {"datagram": method, "truncate": method, "reflects": True},
            "it has both 'reflects' and 'truncate': an answer as long as its question is never shortened",
        ),
        (
            {"stream": method, "discards_input": True, "server_initiated": True},
            "it has both 'discards_input' and 'server_initiated': a stream that only sends gets no post",
        ),
        (
            {"stream": method, "client_speaks_first": True},
            "'client_speaks_first' is for a class with 'handler'; a conversation waits for its peer with a bare yield",
        ),
        ({"handler": Handler, "discards_input": True}, "'discards_input' is for a class with 'stream'"),
        ({"datagram": method, "discards_input": True}, "'discards_input' is for a class with 'stream'"),
        (
            {"handler": Handler, "server_initiated": True},
            "'server_initiated' is for a class with 'stream' or 'datagram'",
        ),
        ({"stream": method, "truncate": method}, "'truncate' is for a class with 'datagram'"),
        ({}, "it is not a class with stream, datagram, handler or program"),
        ({"rfc": 862, "single_worker": True}, "it is not a class with stream, datagram, handler or program"),
    ],
)
def test_contradicting_declarations_are_an_error(attributes: dict[str, object], message: str) -> None:
    assert faults(declares(**attributes)) == message


def test_errors_of_a_class_are_reported_at_once() -> None:
    message = faults(declares(stream=method, server_initiatd=True, rfc="x", client_speaks_first=True))
    assert message.count("; ") >= 2
    assert all(name in message for name in ("'server_initiatd'", "'rfc'", "'client_speaks_first'"))


def test_object_that_is_no_class_is_an_error() -> None:
    for one in (Echo(), [Echo], None):
        with pytest.raises(DeclarationError, match="it is not a class with stream, datagram, handler or program"):
            ServiceType.of(one)


def test_method_that_would_never_be_called_is_an_error() -> None:
    class Loud(Echo):
        def stream(self, peer: Peer) -> Conversation:
            while data := (yield None):
                yield data.upper()

    message = "it inherits 'reflects', so its own 'stream' is never called; say reflects = False"
    assert faults(Loud) == message
    assert ServiceType.of(type("Louder", (Loud,), {"reflects": False})).serving == "conversation"
    assert ServiceType.of(type("Same", (Echo,), {})).serving == "echo"
    assert ServiceType.of(type("Again", (Loud,), {"reflects": True})).serving == "echo"


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


@given(
    attributes=st.dictionaries(
        st.sampled_from([*FLAGS, *METHODS, "rfc", "counters", "Options"]),
        st.sampled_from([True, False, None, 7, "x", ("x",), ("x", "x"), method, Model, Handler]),
    )
)
def test_any_declaration_is_a_value_or_an_error_that_names_the_class(attributes: dict[str, Any]) -> None:
    declared = declares(**attributes)
    try:
        kind = ServiceType.of(declared)
    except DeclarationError as error:
        assert str(error).startswith("netd_example:Shout: ")
        assert error.faults
        return
    # The value has every declaration, in any combination.
    assert kind.blocks == (attributes.get("handler") is not None)
    assert kind.streams or kind.datagrams
    assert bool(attributes.get("reflects")) == ("echo" in (kind.serving, kind.datagrams))
    assert bool(attributes.get("server_initiated")) == ("push" in (kind.serving, kind.datagrams))
    assert bool(attributes.get("discards_input")) == (kind.serving == "send_only")
    assert (attributes.get("program") is not None) == (kind.serving == "program")
    assert bool(attributes.get("datagram_blocks")) == (kind.datagrams == "thread")
    assert bool(attributes.get("listens")) == kind.listens == (kind.datagrams == "program")
    assert bool(attributes.get("runs_program")) == kind.runs_program
    assert bool(attributes.get("client_speaks_first")) == kind.client_speaks_first
    assert bool(attributes.get("single_worker")) == kind.single_worker
    assert bool(attributes.get("polled")) == kind.polled
    assert bool(attributes.get("reads_ttl")) == kind.reads_ttl
    assert bool(attributes.get("take_over")) == kind.takes_over
    assert bool(attributes.get("truncate")) == kind.truncates
    assert (attributes.get("rfc"), attributes.get("Options") or NoOptions) == (kind.rfc, kind.options)
    assert (attributes.get("counters") or ()) == kind.layout.own


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
