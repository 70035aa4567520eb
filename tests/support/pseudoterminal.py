"""Reading from a pseudoterminal."""

import os


def read_terminal(primary: int, shown: str) -> bytes:
    """The output on a terminal. If no process has it open any more, raises AssertionError with the output so far."""
    try:
        return os.read(primary, 65536)
    except OSError as error:
        raise AssertionError(f"{error.strerror}; the terminal has shown:\n{shown}") from None
