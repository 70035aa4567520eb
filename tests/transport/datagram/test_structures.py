"""The structures of a batch."""

import ctypes

from netd.transport.datagram import structures


def test_structures_have_the_layout_of_the_c_library() -> None:
    assert structures.AVAILABLE
    if ctypes.sizeof(ctypes.c_void_p) == 8:
        assert ctypes.sizeof(structures.Header) == 56
        assert ctypes.sizeof(structures.Message) == 64
        assert structures.Message.length.offset == 56


def test_column_is_one_word_of_each_structure() -> None:
    memory = bytearray(4 * ctypes.sizeof(structures.Message))
    column = structures.column(memory, ctypes.sizeof(structures.Message), 0, structures.Message.length)
    column[:] = memoryview(structures.filled(7)[:4])
    assert [message.length for message in (structures.Message * 4).from_buffer(memory)] == [7] * 4
    assert structures.AVAILABLE
