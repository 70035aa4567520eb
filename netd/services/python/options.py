"""The options of `python`: where the class or function is. All others are those of the class itself."""

import os
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

from netd.errors import InvalidValueError
from netd.notation import Notation
from netd.text import shown
from netd.values import Model

_NAME = r"[^\W\d]\w*"
_FORM = "/PATH/FILE.py:CLASS or package.module:CLASS"


def parse_reference(value: object) -> str:
    """A file or a module, and a class or function in it: ``/srv/greet.py:Greet``, or ``greetings.polite:Greet``.

    Raises ValueError for anything else.
    """
    text = value if isinstance(value, str) else ""
    place, colon, name = text.rpartition(":")
    if not colon and place + name:
        place, name = name, ""
    if "\0" not in place and (place.endswith(".py") or "/" in place):
        if not name:
            raise InvalidValueError(f"expected {_FORM}, got {shown(value)}", "append ':' and the name of the class")
        if not os.path.isabs(place):
            raise InvalidValueError(f"expected the absolute path of a file, got {shown(place)}")
    elif not re.fullmatch(rf"{_NAME}(\.{_NAME})*", place) or not name:
        raise InvalidValueError(f"expected {_FORM}, got {shown(value)}")
    if not re.fullmatch(_NAME, name):
        raise InvalidValueError(f"expected the name of a class or function after ':', got {shown(name)}")
    return text


class Reference(Model):
    """Options of ``python``: `class`, and those of the class."""

    model_config = ConfigDict(extra="allow")

    @property
    def place(self) -> str:
        """The path of a file, or the name of a module."""
        return str(getattr(self, "class")).rpartition(":")[0]

    @property
    def name(self) -> str:
        """The name of the class or function."""
        return str(getattr(self, "class")).rpartition(":")[2]

    @property
    def file(self) -> str:
        """The path of a file; empty if it is a module."""
        return self.place if "/" in self.place else ""

    @property
    def own(self) -> dict[str, Any]:
        """The options of the class."""
        return dict(self.model_extra or {})


_CLASS = """The class or function, as /PATH/FILE.py:CLASS or package.module:CLASS: a service of netd, a handler of
socketserver or http.server, a function (request, client_address, server), or an async one (reader, writer). The other
options are those of the class."""

# A field cannot be called "class" in the body of a class.
PythonOptions: type[Reference] = create_model(  # type: ignore[call-overload]
    "PythonOptions",
    __base__=Reference,
    __doc__=Reference.__doc__,
    __module__=__name__,
    **{
        "class": (
            Annotated[
                str,
                BeforeValidator(parse_reference),
                WithJsonSchema({"type": "string", "pattern": r"^(/.+|[A-Za-z_][\w.]*):[A-Za-z_]\w*$"}),
                Notation("`/PATH/FILE.py:CLASS` or `package.module:CLASS`"),
            ],
            Field(description=" ".join(_CLASS.split())),
        )
    },
)
