"""Unit files of systemd: sections, keys, drop-ins, values."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.importers.systemd.units import Unit, count, drop_in_names, drop_in_order, octets, seconds, switch
from tests.importers.lines import source


def unit(*texts: str) -> Unit:
    found = Unit("x.socket")
    for number, text in enumerate(texts):
        found.add(source(text, f"file{number}"))
    return found


def test_an_assignment_has_its_section_its_place_and_its_comments() -> None:
    found = unit("# one\n[Socket]\n; two\nListenStream = 80 # x\n\nAccept=yes")
    first, second = found.directives
    assert (first.place.file, first.place.line, first.section, first.key) == ("file0", 4, "Socket", "ListenStream")
    assert (first.value, first.comments) == ("80 # x", ("one", "two"))
    assert (second.place.line, second.value, second.comments) == (6, "yes", ())


def test_a_line_goes_on_after_a_backslash_also_over_comments() -> None:
    found = unit("[Service]\nExecStart=/a \\\n# why\n  -b \\\n  -c\nUser=d\\\n")
    assert [(one.place.line, one.value.split()) for one in found.directives] == [(2, ["/a", "-b", "-c"]), (6, ["d"])]
    assert found.directives[0].comments == ("why",)


def test_the_last_of_several_values_counts_and_an_empty_one_removes_them() -> None:
    found = unit("[Socket]\nListenStream=1\nListenDatagram=2\nAccept=yes\n", "[Socket]\nAccept=no\n")
    assert found.value("Socket", "Accept") == "no"
    assert found.value("Socket", "Backlog", "7") == "7"
    assert [one.value for one in found.listed("Socket", "ListenStream", "ListenDatagram")] == ["1", "2"]
    found.add(source("[Socket]\nListenStream=\nListenStream=3\n"))
    assert [one.value for one in found.listed("Socket", "ListenStream", "ListenDatagram")] == ["3"]
    assert {one.value for one in found.set_aside("Socket", "ListenStream", "ListenDatagram")} == {"1", "2", ""}


def test_lines_that_systemd_ignores_have_the_reason() -> None:
    found = unit("a=b\n[Socket\n[Socket]\nword\n=x\n")
    assert [(one.place.line, one.text, one.reason) for one in found.ignored] == [
        (1, "a=b", "it is in no section"),
        (2, "[Socket", "it is no section"),
        (4, "word", "it is no assignment"),
        (5, "=x", "it is no assignment"),
    ]


def test_a_drop_in_hides_others_of_its_name() -> None:
    names = [
        ("/etc/d", "b.conf"),
        ("/run/d", "b.conf"),
        ("/run/d", "a.conf"),
        ("/run/d", "c.txt"),
        ("/run/d", ".x.conf"),
    ]
    assert drop_in_order(names) == ["/run/d/a.conf", "/etc/d/b.conf"]


def test_values_have_the_forms_of_systemd() -> None:
    assert (switch("yes"), switch("T"), switch("off"), switch("0")) == (True, True, False, False)
    assert (seconds("5min 20s"), seconds("90"), seconds("1.5h"), seconds("infinity")) == (320.0, 90.0, 5400.0, None)
    assert (octets("512"), octets("64K"), octets("1G"), octets("infinity")) == (512, 65536, 2**30, None)
    assert count("12") == 12


@pytest.mark.parametrize(
    ("parse", "text"),
    [(switch, "maybe"), (seconds, "5x"), (seconds, "-1"), (octets, "1.5K"), (octets, ""), (count, "-1"), (count, "²")],
)
def test_values_of_another_form_are_refused(parse: object, text: str) -> None:
    with pytest.raises(ValueError, match="it is no"):
        parse(text)  # type: ignore[operator]


@given(st.text(st.sampled_from("a[]=#;\\\n\r\t é\udc80\0"), max_size=80))
def test_any_text_is_a_unit(text: str) -> None:
    found = unit(text)
    assert all(one.key and one.section is not None for one in found.directives)


@given(st.text(max_size=20))
def test_any_value_is_read_or_refused(text: str) -> None:
    for parse in (switch, seconds, octets, count):
        with suppress(ValueError):
            parse(text)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("rsync.socket", ["rsync.socket.d"]),
        ("foo-bar-baz.socket", ["foo-bar-baz.socket.d", "foo-bar-.socket.d", "foo-.socket.d"]),
        ("foo-bar@.service", ["foo-bar@.service.d", "foo-.service.d", "foo-@.service.d"]),
        ("foo-.socket", ["foo-.socket.d"]),
        ("a--b.socket", ["a--b.socket.d", "a--.socket.d", "a-.socket.d"]),
    ],
)
def test_drop_ins_of_prefixes_are_those_of_the_unit_too(name: str, found: list[str]) -> None:
    assert drop_in_names(name) == found
