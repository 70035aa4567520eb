"""The user interface of a pipe: lines in, octets out."""

import asyncio
import io
import os
import sys

import pytest

from netd.client.talk.user_io import Pipe, encoded


class Output(io.TextIOWrapper):
    """Standard output in memory, which may be a terminal."""

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        self.data = io.BytesIO()
        super().__init__(self.data, encoding)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def shown(monkeypatch: pytest.MonkeyPatch, *pieces: bytes, terminal: bool, whole: bool) -> bytes:
    """What a pipe writes of these pieces, and of the end."""
    output = Output(terminal=terminal)
    monkeypatch.setattr(sys, "stdout", output)

    async def show() -> None:
        ui = Pipe()
        for piece in pieces:
            await ui.show(piece, whole=whole)
        await ui.show_end()

    asyncio.run(show())
    return output.data.getvalue()


def test_lines_are_split_and_the_last_one_may_have_no_end(typed: int) -> None:
    async def read() -> list[bytes]:
        return [line async for line in Pipe().lines()]

    os.write(typed, b"one\ntwo\r\n\nthr")
    os.write(typed, b"ee")
    os.close(typed)
    assert asyncio.run(read()) == [b"one\n", b"two\r\n", b"\n", b"three"]


def test_line_in_two_pieces_is_one_line(typed: int) -> None:
    async def read() -> bytes:
        lines = Pipe().lines()
        reading = asyncio.create_task(anext(lines))
        os.write(typed, b"hel")
        await asyncio.sleep(0.01)
        assert not reading.done()
        os.write(typed, b"lo\nmore")
        line = await asyncio.wait_for(reading, 10)
        await lines.aclose()
        return line

    assert asyncio.run(read()) == b"hello\n"
    os.close(typed)


def test_long_line_is_yielded_in_pieces(typed: int) -> None:
    async def read() -> list[bytes]:
        lines = Pipe().lines()
        first = await anext(lines)
        os.write(typed, b"y\n")
        os.close(typed)
        return [first, *[line async for line in lines]]

    os.write(typed, b"x" * 65536)  # the size of a pipe
    assert asyncio.run(read()) == [b"x" * 65536, b"y\n"]


def test_input_has_finished_when_all_of_it_was_read_and_yielded(typed: int) -> None:
    async def read() -> list[bool]:
        ui = Pipe()
        found = [ui.has_finished()]
        lines = ui.lines()
        os.write(typed, b"one\ntwo\n")
        for _ in range(2):
            await anext(lines)
            found.append(ui.has_finished())
        os.close(typed)
        assert await anext(lines, None) is None
        return [*found, ui.has_finished()]

    assert asyncio.run(read()) == [False, False, False, True]


def test_end_of_a_pipe_is_found_before_it_is_read(typed: int) -> None:
    async def read() -> bool:
        ui = Pipe()
        lines = ui.lines()
        os.write(typed, b"one\n")
        assert await anext(lines) == b"one\n"
        reading = asyncio.create_task(anext(lines, None))
        await asyncio.sleep(0)  # it waits for more
        os.close(typed)
        finished = ui.has_finished()
        assert await reading is None
        return finished

    assert asyncio.run(read())


def test_end_of_a_pipe_that_nothing_reads_is_found(typed: int) -> None:
    ui = Pipe()
    os.write(typed, b"x")
    assert not ui.has_finished(), "unread input"
    os.close(typed)
    assert ui.has_finished()


@pytest.mark.parametrize("whole", [True, False])
def test_output_into_a_pipe_is_unchanged(monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    assert shown(monkeypatch, b"a\x1b[2J", b"\xff", terminal=False, whole=whole) == b"a\x1b[2J\xff"


@pytest.mark.parametrize(
    ("pieces", "whole", "output"),
    [
        ([b"a\x1b[2J\n"], False, b"a\\x1b[2J\n"),
        ([b"a", b"b"], True, b"a\nb\n"),
        ([b"a\n", b"b\n"], True, b"a\nb\n"),
        ([b"a", b"b\n"], False, b"ab\n"),
        ([b"login: "], False, b"login: \n"),
        ([], False, b""),
    ],
)
def test_output_to_a_terminal_is_escaped_and_ends_with_a_line_end(
    monkeypatch: pytest.MonkeyPatch, pieces: list[bytes], whole: bool, output: bytes
) -> None:
    assert shown(monkeypatch, *pieces, terminal=True, whole=whole) == output


def test_characters_that_standard_output_cannot_encode_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Output(terminal=True, encoding="ascii"))
    assert encoded("grü") == b"gr\\xfc"


def test_answer_without_a_line_end_is_a_line_of_its_own_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(terminal=True)
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr("netd.client.talk.user_io.SILENCE", 0.0)

    async def show() -> None:
        ui = Pipe()
        for piece, wanted in (
            (b"hello", b"hello\n"),
            (b"fine", b"hello\nfine\n"),
            (b"\nlate\n", b"hello\nfine\nlate\n"),  # with the line end that was missing
            (b"name: ", b"hello\nfine\nlate\nname: "),
            (b"yes", b"hello\nfine\nlate\nname: yes\n"),
        ):
            await ui.show(piece, whole=False)
            while output.data.getvalue() != wanted:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)
            assert output.data.getvalue() == wanted

    asyncio.run(asyncio.wait_for(show(), 20))
