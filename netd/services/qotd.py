"""qotd (RFC 865)."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, model_validator

from netd.contract import Context, Conversation
from netd.peer import Peer
from netd.text import shown
from netd.values import Model

_LONGEST_FILE = 2**20


def check_quote(text: str) -> str:
    """The quote, if it is printable ASCII, spaces and line ends (RFC 865); else raise ValueError."""
    if not text.strip():
        raise ValueError("expected a quote, got an empty one")
    bad = [c for c in text if not " " <= c <= "~" and c != "\n"]
    if bad:
        raise ValueError(f"a quote may hold printable ASCII and line ends only (RFC 865), got {shown(bad[0])}")
    return text


def check_some(quotes: tuple[str, ...]) -> tuple[str, ...]:
    """The quotes, if there is at least one; else raise ValueError."""
    if not quotes:
        raise ValueError("expected at least one quote")
    return quotes


Quote = Annotated[str, AfterValidator(check_quote)]


class QuoteOfTheDay:
    """Sends a quote and closes."""

    rfc = 865
    discards_input = True

    class Options(Model):
        """Options of ``qotd``."""

        quotes: Annotated[tuple[Quote, ...], AfterValidator(check_some)] = (
            "Be conservative in what you do, be liberal in what you accept from others. (RFC 793)",
        )
        """The quotes, of printable ASCII; one is sent at random, over datagrams its first 511 characters."""
        file: str = ""
        """A file of quotes in place of ``quotes``, separated by lines of a single %, as fortune(6) reads them; at most
        1 MiB. It is read when the service starts."""

        @model_validator(mode="after")
        def _one_source(self) -> "QuoteOfTheDay.Options":
            if self.file and "quotes" in self.model_fields_set:
                raise ValueError("quotes and file exclude each other")
            return self

    def __init__(self, options: Options, context: Context) -> None:
        self._random = context.random
        quotes = _read_quotes(options.file) if options.file else options.quotes
        self._quotes = [quote.rstrip().replace("\n", "\r\n").encode("ascii") + b"\r\n" for quote in quotes]

    def stream(self, peer: Peer) -> Conversation:
        yield self._random.choice(self._quotes)

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        return self._random.choice(self._quotes)[:511]

    def truncate(self, answer: bytes, most: int) -> bytes:
        return answer[:most]


def _read_quotes(file: str) -> list[str]:
    """The quotes in a fortune(6) file. ValueError says what is wrong with the file."""
    try:
        if Path(file).exists() and not Path(file).is_file():
            raise ValueError(f"file {file!r}: not a regular file")
        with Path(file).open("rb") as stream:
            content = stream.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise ValueError(f"file {file!r}: {error.strerror}") from None
    if len(content) > _LONGEST_FILE:
        raise ValueError(f"file {file!r}: larger than 1 MiB")
    # Octets above 127 become characters that check_quote refuses.
    text = content.decode("latin-1").expandtabs().replace("\r\n", "\n")
    try:
        quotes = [check_quote(quote) for quote in text.split("\n%\n") if quote.strip("%\n ")]
    except ValueError as error:
        raise ValueError(f"file {file!r}: {error}") from None
    if not quotes:
        raise ValueError(f"file {file!r}: there are no quotes in it")
    return quotes
