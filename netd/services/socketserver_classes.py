"""Classes of `socketserver` that netd cannot serve as they are, and what would fit.

The documentation of Python has examples of each. They would be accepted, and fail at each connection.
"""

import ast
import inspect
import textwrap

_COROUTINE = "name an async function (reader, writer)"
_DATAGRAMS = "answer datagrams with a method datagram(self, data, peer)"


def why_no_service(service: object) -> str:
    """Why a class or function of this kind is no service, and what would fit; empty for any other object."""
    if inspect.isroutine(service):
        return "a function is no service; give a class one of the methods stream, datagram and handler"
    if not isinstance(service, type):
        return ""
    if is_a(service, "BaseServer"):
        return "a server of socketserver is no service, since netd has its own; its handler can be one's 'handler'"
    if is_a(service, "BaseRequestHandler"):
        return why_no_handler(service) or (
            f"a request handler is no service; put it into a class of its own: handler = {service.__name__}"
        )
    return ""


def why_no_handler(handler: object) -> str:
    """Why a handler of `socketserver` cannot serve the connections of a service; empty if it can."""
    if not isinstance(handler, type) or not is_a(handler, "BaseRequestHandler"):
        return ""
    if is_a(handler, "DatagramRequestHandler"):
        return f"'{handler.__name__}' is a DatagramRequestHandler, but a handler serves streams; {_DATAGRAMS}"
    if is_coroutine_function(handler.handle):  # type: ignore[attr-defined]
        return (
            f"'{handler.__name__}.handle' is an async function, which socketserver calls as a plain one; {_COROUTINE}"
        )
    if takes_datagrams(handler):
        return f"'{handler.__name__}' takes (data, socket) as its request, but a handler serves streams; {_DATAGRAMS}"
    return ""


def is_coroutine_function(function: object) -> bool:
    """Whether a call of this function, method or callable object gives a coroutine."""
    if inspect.iscoroutinefunction(function):
        return True
    return not isinstance(function, type) and inspect.iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004


def is_a(given: type, name: str, module: str = "socketserver") -> bool:
    """Whether a class is, or inherits from, the class of a module with this name."""
    return any((one.__module__, one.__name__) == (module, name) for one in given.__mro__)


def takes_datagrams(handler: object) -> bool:
    """Whether a handler, or a function in its place, takes a datagram: ``(data, socket)`` as its request.

    It does if it is a DatagramRequestHandler, or has ``self.request[0]`` or ``data, socket = self.request``.
    """
    if not isinstance(handler, type):
        return _unpacks_request(handler)
    return is_a(handler, "DatagramRequestHandler") or any(
        _unpacks_request(one) for one in handler.__mro__ if one.__module__ not in ("socketserver", "builtins")
    )


def _unpacks_request(handler: object) -> bool:
    """Whether a method of the class, or a function, takes its request apart."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(handler)))  # type: ignore[arg-type]
    except (OSError, TypeError, SyntaxError):  # it has no source
        return False
    own = ""  # the name of the request of a function
    match tree.body:
        case [ast.FunctionDef(args=ast.arguments(args=[first, *_]))]:
            own = first.arg
    return any(
        _is_request(node.value, own)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        or (isinstance(node, ast.Assign) and any(isinstance(one, ast.Tuple | ast.List) for one in node.targets))
    )


def _is_request(node: ast.expr, own: str) -> bool:
    """Whether it is ``self.request``, or the request of a function, which has the name ``own``."""
    match node:
        case ast.Attribute(value=ast.Name(id="self"), attr="request"):
            return True
        case ast.Name(id=name):
            return name == own
    return False
