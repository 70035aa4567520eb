"""How a service is served, as a value: the declarations of its class, read and checked once.

`netd.contract` lists what a class may declare. A misspelt name, a value of the wrong type and two declarations that
contradict each other would otherwise be ignored silently. They are errors, which netd finds before it serves anything.
"""

import difflib
import inspect
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

from netd.contract import Context
from netd.services.socketserver_classes import is_coroutine_function, why_no_handler, why_no_service
from netd.shared.table import COMMON, Layout
from netd.values import Model

Serving = Literal["echo", "conversation", "push", "send_only", "thread", "asyncio", "program", "forward", "multiplex"]
"""How a stream is served. echo: the transport returns the input, without the service; conversation: a generator that
is resumed with the input; push: the same with a `Post`; send_only: a generator that never receives; thread: a
blocking handler; asyncio: a handler that is a coroutine; program: a program gets the connection; forward: it is
joined with one to another service."""

Datagrams = Literal["echo", "answer", "thread", "push", "program", "forward"]
"""How a datagram is served. echo: the transport returns it, without the service; answer: the service is called;
thread: the same in a thread; push: the same with a `Post`; program: a program gets the socket, where its options say
so; forward: it is passed on to another service."""


class NoOptions(Model):
    """The options of a service type that has none."""


class DeclarationError(ValueError):
    """A class is no service, or its declarations are wrong. ``faults`` lists them, without the name of the class."""

    def __init__(self, service: object, faults: str) -> None:
        name = f"{service.__module__}:{service.__qualname__}" if isinstance(service, type) else reprlib.repr(service)
        super().__init__(f"{name}: {faults}")
        self.faults = faults


@dataclass(frozen=True)
class ServiceType:
    """A type of service, under the name that the config uses, and how netd serves it."""

    name: str
    summary: str
    build: Callable[[Any, Context], Any]
    """Builds a service from its options. Raises ValueError for options that are wrong."""
    serving: Serving | None = None
    """None: it serves no streams."""
    datagrams: Datagrams | None = None
    """None: it serves no datagrams."""
    rfc: int | None = None
    options: type[Model] = NoOptions
    single_worker: bool = False
    """Whether one worker serves all peers."""
    takes_over: bool = False
    """Whether it has ``take_over``: after a reload the new service object gets the old one."""
    truncates: bool = False
    """Whether it has ``truncate``, for a peer that may not get all of an answer."""
    client_speaks_first: bool = False
    """Whether a connection takes a thread only once input has come."""
    polled: bool = False
    """Whether its connections are logged at debug by default."""
    reads_ttl: bool = False
    """Whether its peers have a `Peer.ttl`."""
    runs_program: bool = False
    """Whether its conversations run a program."""
    module: str = ""
    """The module of its class."""
    layout: Layout = COMMON
    """What is counted for a service of this type, and where it stands in its table (``counters``)."""

    @property
    def streams(self) -> bool:
        """Whether it serves TCP and UNIX streams."""
        return self.serving is not None

    @property
    def blocks(self) -> bool:
        """Whether each of its connections takes a thread."""
        return self.serving == "thread"

    @property
    def converses(self) -> bool:
        """Whether it can serve any stream, also a socket pair (`netd talk --service`)."""
        return self.serving not in (None, "thread", "asyncio", "program", "multiplex")

    @property
    def multiplexes(self) -> bool:
        """Whether it passes connections on to the services that they name."""
        return self.serving == "multiplex"

    @property
    def starts_programs(self) -> bool:
        """Whether netd starts programs for it, so that its options are those of `ProgramOptions`."""
        return self.serving == "program" or self.runs_program

    @property
    def listens(self) -> bool:
        """Whether its program gets the listening sockets with the option ``mode: listener``."""
        return self.datagrams == "program"

    @classmethod
    def of(cls, service: object, name: str = "") -> "ServiceType":
        """The type that a class declares, named as the class unless ``name`` is given. Raises `DeclarationError`.

        A config may have thousands of services of one class, so the result is cached.
        """
        if fault := why_no_service(service):
            raise DeclarationError(service, fault)
        if not isinstance(service, type):
            raise DeclarationError(service, _NO_SERVICE)
        if faults := _faults(service):
            raise DeclarationError(service, faults)
        return _read(service, name or service.__name__)


_NO_SERVICE = "it is not a class with stream, datagram, handler or program"

# What a class may declare. An attribute that is None declares nothing.
_FLAGS = (
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
    "multiplexes",
    "runs_program",
)
_METHODS = ("stream", "datagram", "handler", "program", "take_over", "truncate")
_SERVES = ("stream", "datagram", "handler", "program", "forwards", "multiplexes")
_TRAITS = {"rfc", "counters", "Options", *_FLAGS, *_METHODS}
# Former names. A class that still has one would silently lose what it declares.
_FORMER = {
    "ignores_input": "discards_input",
    "unasked": "server_initiated",
    "peer_begins": "client_speaks_first",
    "one_worker": "single_worker",
    "inherit": "take_over",
    "shortened": "truncate",
}

# Pairs that contradict each other, and why.
_EXCLUDE = (
    ("stream", "handler", "a connection is served by one of them"),
    ("stream", "program", "a connection is served by one of them"),
    ("handler", "program", "a connection is served by one of them"),
    ("datagram", "program", "a program gets the socket of datagrams"),
    *(
        (one, "forwards", "a service that forwards is never called")
        for one in ("stream", "datagram", "handler", "program")
    ),
    *(
        (one, "multiplexes", "a service that multiplexes is never called")
        for one in ("stream", "datagram", "handler", "program", "forwards")
    ),
    ("reflects", "program", "a service that reflects is never called"),
    ("reflects", "discards_input", "what is thrown away cannot be sent back"),
    ("reflects", "server_initiated", "a service that reflects is never called, so it never posts"),
    ("reflects", "datagram_blocks", "a service that reflects is never called"),
    ("server_initiated", "datagram_blocks", "a datagram that is answered in a thread gets no post"),
    ("reflects", "handler", "a service that reflects is never called"),
    ("reflects", "truncate", "an answer as long as its question is never shortened"),
    ("discards_input", "server_initiated", "a stream that only sends gets no post"),
)
# A name, the names of which it needs at least one, and a hint at what the author may want instead.
_NEED = (
    ("reflects", ("stream", "datagram"), ""),
    ("discards_input", ("stream",), ""),
    ("server_initiated", ("stream", "datagram"), ""),
    ("client_speaks_first", ("handler",), "; a conversation waits for its peer with a bare yield"),
    ("truncate", ("datagram",), ""),
    ("datagram_blocks", ("datagram",), ""),
    ("listens", ("program",), ""),
    ("runs_program", ("stream",), ""),
    ("forwards", ("Options",), ""),
)


def _members(service: type) -> dict[str, Any]:
    """The public attributes of a class and its base classes, without those that declare nothing."""
    return {
        name: value
        for name, value in inspect.getmembers(service)
        if not name.startswith("_") and not (value is None and name in _TRAITS)
    }


@cache
def _faults(service: type) -> str:
    """The errors in the declarations of a class; empty if there are none."""
    members = _members(service)
    faults = [_misspelt(name, value, members.keys()) for name, value in members.items() if name not in _TRAITS]
    faults += [_mistyped(name, value) for name, value in members.items() if name in _TRAITS]
    has = {name for name in _TRAITS & members.keys() if name not in _FLAGS or members[name] is True}
    faults += [f"it has both '{one}' and '{other}': {why}" for one, other, why in _EXCLUDE if {one, other} <= has]
    faults += [*_never_called(service, has), why_no_handler(members.get("handler"))]
    if "client_speaks_first" in has and is_coroutine_function(members.get("handler")):
        faults.append("'client_speaks_first' is for a handler that takes a thread, and a coroutine takes none")
    if has.intersection(_SERVES):
        faults += [
            f"'{name}' is for a class with {' or '.join(map(repr, those))}{hint}"
            for name, those, hint in _NEED
            if name in has and not has.intersection(those)
        ]
    else:
        faults.append(_NO_SERVICE)
    return "; ".join(filter(None, faults))


def _never_called(service: type, has: set[str]) -> list[str]:
    """The errors of a class that inherits ``reflects`` and has a method of its own, which is then never called."""
    if "reflects" not in has:
        return []
    depth = {
        name: next(number for number, one in enumerate(service.__mro__) if name in vars(one))
        for name in has & {"reflects", "stream", "datagram"}
    }
    return [
        f"it inherits 'reflects', so its own '{name}' is never called; say reflects = False"
        for name in ("stream", "datagram")
        if depth.get(name, depth["reflects"]) < depth["reflects"]
    ]


def _misspelt(name: str, value: object, declared: Any) -> str:
    """The error for an attribute with nearly the name, or the former name, of a trait; empty if it is neither."""
    if name in _FORMER:
        return f"'{name}' is now called '{_FORMER[name]}'"
    known = [*_METHODS, "Options"] if callable(value) else [*_FLAGS, "rfc", "counters"]
    # A class has one of the two, so a name that looks like the other is not meant as it.
    ways = {"stream", "handler", "program"}
    served = ways if ways & set(declared) else set()
    missing = {trait.lower(): trait for trait in known if trait not in declared and trait not in served}
    near = difflib.get_close_matches(name.lower(), missing, 1, 0.8)
    return (
        f"'{name}' means nothing to netd; did you mean '{missing[near[0]]}'? (else begin it with '_')" if near else ""
    )


def _mistyped(name: str, value: object) -> str:
    """The error in the value of a trait; empty if it has the right type."""
    if name == "Options":
        return "" if isinstance(value, type) and issubclass(value, Model) else "its Options are not a netd.values.Model"
    if name == "counters" and isinstance(value, tuple) and all(isinstance(one, str) and one for one in value):
        try:
            Layout(value)
        except ValueError as error:
            return f"'counters': {error}"
        return ""
    if name in _FLAGS:
        wanted = "" if isinstance(value, bool) else "True or False"
    elif name == "rfc":
        wanted = "" if type(value) is int and value > 0 else "the number of an RFC"
    elif name == "counters":
        wanted = "a tuple of names"
    else:
        wanted = "" if callable(value) else "a method"
        if name != "handler" and is_coroutine_function(value):
            return f"'{name}' is an async function, but netd awaits a handler (reader, writer) alone"
    return f"'{name}' has to be {wanted}, and is {reprlib.repr(value)}" if wanted else ""


@cache
def _read(service: type, name: str) -> ServiceType:
    """The type of a class that has no errors."""
    has = _members(service)
    flag = {name: bool(has.get(name)) for name in _FLAGS}
    serving: Serving | None = None
    if "handler" in has:
        serving = "asyncio" if is_coroutine_function(has["handler"]) else "thread"
    elif "program" in has:
        serving = "program"
    elif flag["forwards"]:
        serving = "forward"
    elif flag["multiplexes"]:
        serving = "multiplex"
    elif "stream" in has:
        serving = "conversation"
        if flag["reflects"]:
            serving = "echo"
        elif flag["discards_input"]:
            serving = "send_only"
        elif flag["server_initiated"]:
            serving = "push"
    datagrams: Datagrams | None = "program" if flag["listens"] else "forward" if flag["forwards"] else None
    if "datagram" in has:
        datagrams = "echo" if flag["reflects"] else "push" if flag["server_initiated"] else "answer"
        if flag["datagram_blocks"]:
            datagrams = "thread"
    return ServiceType(
        name=name,
        summary=" ".join(inspect.cleandoc(service.__doc__ or "").partition("\n\n")[0].split()),
        build=partial(_build, service, _TRAITS & has.keys()),
        serving=serving,
        datagrams=datagrams,
        rfc=has.get("rfc"),
        options=has.get("Options", NoOptions),
        single_worker=flag["single_worker"],
        takes_over="take_over" in has,
        truncates="truncate" in has,
        client_speaks_first=flag["client_speaks_first"],
        polled=flag["polled"],
        reads_ttl=flag["reads_ttl"],
        runs_program=flag["runs_program"],
        module=service.__module__,
        layout=Layout(has.get("counters", ()), targets=flag["forwards"]),
    )


def _build(service: type, declared: set[str], options: Model, context: Context) -> object:
    """Build a service. An attribute of the object declares nothing: its type was read before, so it is an error."""
    given = (options, context) if "Options" in declared else ()
    try:
        built: object = service(*given)
    except TypeError as error:
        if _fits(service, given):
            raise
        passed = (
            "(options, context)" if given else "nothing to a class without Options, and (options, context) to others"
        )
        raise TypeError(f"{error}; netd passes {passed}") from None
    for name in sorted(_TRAITS & getattr(built, "__dict__", {}).keys() - declared.intersection(_METHODS)):
        raise DeclarationError(service, f"'{name}' has to be an attribute of the class, not of the object")
    return built


def _fits(service: type, given: tuple[object, ...]) -> bool:
    """Whether a class can be called with these arguments."""
    try:
        inspect.signature(service).bind(*given)
    except (TypeError, ValueError):
        return False
    return True
