"""The characters of a line that are shown, and valid names."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.services.chat.text import check_name, clean, split_name

# A zero-width space, a soft hyphen, direction marks, an Arabic one, a byte order mark, a word joiner, a tag, what is
# reserved for tags, private use, and an escape.
UNSEEN = "\u200b\u00ad\u200e\u200f\u061c\ufeff\u2060\U000e0041\U000e0fff\ue000\x1b"
FILLERS = "\u3164\u115f\u1160\uffa0\u034f\ufe0f\u2800"
JOINERS = "\u200c\u200d"

texts = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(UNSEEN + FILLERS + JOINERS + " :\t"))
)


@pytest.mark.parametrize("character", UNSEEN)
def test_invisible_characters_are_not_shown(character: str) -> None:
    assert clean(f"al{character}ex : h{character}i".encode()) == "alex : hi"


@pytest.mark.parametrize("text", ["👩\u200d💻 ❤\ufe0f", "می\u200cروم", "क्\u200dष", "ㅎ\u1160", "\U0001fae8"])
def test_characters_of_words_and_emoji_stay(text: str) -> None:
    assert clean(text.encode()) == text


@pytest.mark.parametrize("name", ["alex", "Alex_M.", "阿历克斯", "हिन्दी", "💻", "a" * 32])
def test_a_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", " alex", "Alex M.", "a" * 33, "a:b", "a\nb", "\u0301"),
        *(name for it in UNSEEN + FILLERS + JOINERS for name in (it, f"a{it}", f"a{it}b")),
    ],
)
def test_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a word"):
        check_name(name)


@given(st.one_of(st.binary(), texts.map(str.encode)))
def test_shown_characters_are_visible_or_join_visible_ones(message: bytes) -> None:
    line = clean(message)
    for character in line:
        assert unicodedata.category(character) not in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp") or character in JOINERS
    assert clean(line.encode()) == line


@given(texts)
def test_visible_text_stays_as_it_is(text: str) -> None:
    kept = [it for it in text if it in JOINERS or unicodedata.category(it)[0] not in "CZ"]
    line = clean(text.encode())
    assert [it for it in line if it in JOINERS or unicodedata.category(it)[0] not in "CZ"] == kept


@given(texts, st.sampled_from([" : ", ": "]))
def test_characters_of_a_name_are_visible(name: str, colon: str) -> None:
    found, _ = split_name(clean(f"{name}{colon}hello".encode()))
    if found is not None:
        assert found.isprintable()
        assert not set(found) & set(FILLERS + JOINERS)
        assert unicodedata.category(found[0]) not in ("Mn", "Me")
