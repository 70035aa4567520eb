"""Exceptions while a worker prepares a config, as text for the operator."""

from pydantic import ValidationError

from netd.config.model_errors import describe
from netd.daemon.messages.from_worker import LONGEST_ERROR


def reason(error: BaseException) -> str:
    """The text of an exception, for the operator, at most as long as a message may say it."""
    if isinstance(error, ValidationError):
        # The supervisor has accepted the options: this worker lacks a file that they need.
        [first, *_] = error.errors(include_url=False)
        [fault, *_] = describe(first)
        return f"options.{'.'.join(map(str, first['loc']))}: {fault.message}"[:LONGEST_ERROR]
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or repr(error)
    return text[:LONGEST_ERROR]
