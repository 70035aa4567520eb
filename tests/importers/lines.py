"""Lines of a file, from a text."""

from netd.importers.account import Place
from netd.importers.source_files import Line


def source(text: str, file: str = "file") -> list[Line]:
    """The lines as `Files.read` has them."""
    texts = text.split("\n")
    return [Line(Place(file, number), one) for number, one in enumerate(texts, 1) if one or number < len(texts)]
