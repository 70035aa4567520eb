"""Classes of `socketserver` that netd cannot serve as they are, and what would fit.

The documentation of Python has examples of each. They would be accepted, and fail at each connection.
"""

import ast
import inspect
import textwrap

_DATAGRAMS = "answer datagrams with a method datagram(self, data, peer)"


def why_no_service(service: object) -> str:
    """Why a class or function of this kind is no service, and what would fit; empty for any other object."""
    if inspect.isroutine(service):
        return "a function is no service; give a class one of the methods stream, datagram and handler"
    if not isinstance(service, type):
        return ""
    if _is_a(service, "BaseServer"):
        return "a server of socketserver is no service, since netd has its own; its handler can be one's 'handler'"
    if _is_a(service, "BaseRequestHandler"):
        return why_no_handler(service) or (
            f"a request handler is no service; put it into a class of its own: handler = {service.__name__}"
        )
    return ""


def why_no_handler(handler: object) -> str:
    """Why a handler of `socketserver` cannot serve the connections of a service; empty if it can."""
    if not isinstance(handler, type) or not _is_a(handler, "BaseRequestHandler"):
        return ""
    if _is_a(handler, "DatagramRequestHandler"):
        return f"'{handler.__name__}' is a DatagramRequestHandler, but a handler serves streams; {_DATAGRAMS}"
    if _unpacks_request(handler):
        return f"'{handler.__name__}' takes (data, socket) as its request, but a handler serves streams; {_DATAGRAMS}"
    return ""


def _is_a(given: type, name: str) -> bool:
    """Whether a class is, or inherits from, the class of `socketserver` with this name."""
    return any((one.__module__, one.__name__) == ("socketserver", name) for one in given.__mro__)


def _unpacks_request(handler: type) -> bool:
    """Whether a method of the class has ``self.request[0]`` or ``data, socket = self.request``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(handler)))
    except (OSError, TypeError, SyntaxError):  # it has no source
        return False
    return any(
        _is_request(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        or (isinstance(node, ast.Assign) and any(isinstance(one, ast.Tuple | ast.List) for one in node.targets))
    )


def _is_request(node: ast.expr) -> bool:
    """Whether it is ``self.request``."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "request"
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    )
