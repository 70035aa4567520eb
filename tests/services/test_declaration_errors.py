"""Declarations of a service class that are errors, and what is said of them."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.contract import Conversation
from netd.peer import Peer
from netd.services.echo import Echo
from netd.services.service_type import DeclarationError, NoOptions, ServiceType
from netd.values import Model
from tests.services.declarations import FLAGS, METHODS, Handler, declares, faults, method


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
