"""What the end of a program means: its code in the config, and the same in words."""

import re
import signal
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator

from netd.contract import LOST, Finished
from netd.text import escaped, printable, shown

TIMEOUT = "timeout"
"""The `Finished.error` of a program that was ended because its time was over."""

_EXIT_CODE = re.compile(r"0|[1-9]\d{0,2}", re.ASCII)
_WORDS = ("signal", TIMEOUT, "other")
_LONGEST_LINE = 1024
_CONTROLS = {code: escaped(chr(code)) for code in (*range(32), *range(127, 160))} | {ord("\t"): " ", ord("\n"): "\n"}

T = TypeVar("T")


def check_code(code: str) -> str:
    """The code, if a program may end with it; else raise ValueError."""
    if code not in _WORDS and not (_EXIT_CODE.fullmatch(code) and int(code) <= 255):
        raise ValueError(f"expected an exit code from 0 to 255, signal, timeout or other, got {shown(code)}")
    return code


def _meaning(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"expected a status code such as 503, or words such as drain, got {shown(value)}")
    return value


Codes = dict[Annotated[str, AfterValidator(check_code)], Annotated[int | str, BeforeValidator(_meaning)]]
"""What each code means: a number or words, as the protocol of the answer has it."""


def find(codes: Mapping[str, T], finished: Finished) -> T:
    """The entry for the end of a program; ``other`` has to be there."""
    if finished.code is None:
        key = finished.error
    elif finished.code < 0:
        key = "signal"
    else:
        key = str(finished.code)
    return codes[key if key in codes else "other"]


def is_whole(finished: Finished) -> bool:
    """Whether the program has ended by itself: what another one has printed may be half of what it had to say."""
    return finished.code is not None and finished.code >= 0


def describe(finished: Finished) -> str:
    """How the program ended, for a peer: no path, and no reason that is the operator's alone."""
    code = finished.code
    if code is None:
        return {TIMEOUT: "timed out", LOST: "unknown"}.get(finished.error, "could not be started")
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"  # a real-time signal has no name


def first_line(finished: Finished) -> str:
    """The first line that the program has printed, at most 1024 characters, or how it ended where that says more."""
    line, _, _ = finished.output.lstrip(b"\r\n").partition(b"\n")
    text = safe(line.removesuffix(b"\r")).strip()[:_LONGEST_LINE]
    return text if text and is_whole(finished) else describe(finished)


def safe(output: bytes) -> str:
    """Output as lines of printable text: a control character in it could do something to the terminal of a reader."""
    text = output.decode("utf-8", "replace").replace("\r\n", "\n").translate(_CONTROLS)
    if text.replace("\n", "").isprintable():
        return text
    # What is left, such as marks for the direction of text, is rare, and takes more time.
    return "\n".join(map(printable, text.split("\n")))
