"""The configs of docs/programs.md."""

import re
from collections.abc import Mapping

from tests.source_tree import ROOT

PAGE = (ROOT / "docs" / "programs.md").read_text()
HERE = "127.0.0.1"


def blocks(language: str) -> list[str]:
    """The texts of this language on the page."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGE)


def replaced(text: str, words: Mapping[str, object]) -> str:
    """The text with other values for words, each of which it has to have."""
    for word, value in words.items():
        assert word in text, word
        text = text.replace(word, str(value))
    return text


def recipe(service: str) -> str:
    """The config of the page that has this service, for clients of this host."""
    [text] = [one for one in blocks("yaml") if re.search(rf"(?m)^  {service}:$", one)]
    return text.replace("10.0.0.0/8", HERE)
