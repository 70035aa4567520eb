"""A Gopher server (RFC 1436) as a generator: serves the text files of a directory, and menus of its directories.

    netd run --service examples/gopher.py:Gopher tcp://localhost:7070

Then `echo / | nc -N localhost 7070`, or a client such as lynx(1): `lynx gopher://localhost:7070`.
"""

from pathlib import Path

from netd.contract import Context, Conversation
from netd.lines import Lines
from netd.peer import Peer
from netd.values import Model

_LONGEST_FILE = 2**20  # octets
_MOST_ITEMS = 1000


class Gopher:
    """Serves text files and menus over the Gopher protocol."""

    rfc = 1436

    class Options(Model):
        """Options of the example."""

        directory: str = "/usr/share/doc/netd"
        """The directory with the files. Hidden ones, and links that lead out of it, are not served."""
        host: str = "localhost"
        """The name under which clients reach this service, which menus repeat."""

    def __init__(self, options: Options, context: Context) -> None:
        self._root = Path(options.directory).resolve()
        if not self._root.is_dir():
            raise ValueError(f"there is no directory {options.directory}")
        self._host = options.host
        self._line_limit = context.line_limit

    def stream(self, peer: Peer) -> Conversation:
        selector = yield from Lines(self._line_limit).read()
        if selector is not None:
            # Search terms follow a tab.
            yield self._answer(selector.partition(b"\t")[0].decode(errors="replace"), peer.local_port)

    def _answer(self, selector: str, port: int) -> bytes:
        """The file or the menu that a client asks for; each ends with a full stop on a line of its own."""
        wanted = selector.strip("/")
        found = (self._root / wanted).resolve() if "\0" not in wanted else None
        try:
            if found is None or not found.is_relative_to(self._root) or _is_hidden(found.relative_to(self._root)):
                raise FileNotFoundError
            if found.is_dir():
                return "".join(self._items(found, port)).encode() + b".\r\n"
            with found.open("rb") as file:
                text = file.read(_LONGEST_FILE)
        except OSError:
            return f"3there is no {selector[:80]!r}\t\terror.host\t1\r\n.\r\n".encode()
        # A line that begins with a full stop gets another one (RFC 1436, section 3.7).
        lines = (b"." + line if line.startswith(b".") else line for line in text.splitlines())
        return b"".join(line + b"\r\n" for line in lines) + b".\r\n"

    def _items(self, directory: Path, port: int) -> list[str]:
        """The items of a menu: 1 is a menu, 0 a text file."""
        names = sorted(one for one in directory.iterdir() if not one.name.startswith("."))[:_MOST_ITEMS]
        return [
            f"{int(one.is_dir())}{one.name}\t/{one.relative_to(self._root)}\t{self._host}\t{port}\r\n" for one in names
        ]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
