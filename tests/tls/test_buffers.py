"""The buffers that connections share."""

from netd.tls.buffers import Buffers


def test_connection_gets_nothing_that_another_one_has_left() -> None:
    buffers = Buffers()
    buffers.put(b"left by an exception")
    buffers.outgoing.write(b"and this")
    buffers.put(b"received")
    assert (buffers.incoming.read(), buffers.outgoing.read()) == (b"received", b"")
