"""whoami, over each transport."""

import pytest

from netd.peer import Credentials, Peer, Proxied
from netd.testing import PEER, datagram, script
from tests.support.services import service


@pytest.mark.parametrize(
    ("peer", "line"),
    [
        (PEER, b"peer=192.0.2.7:5353 local=192.0.2.1:7 transport=tcp family=ipv4\r\n"),
        (
            PEER._replace(proxied=Proxied("10.0.0.1:5")),
            b"peer=192.0.2.7:5353 local=192.0.2.1:7 transport=tcp family=ipv4 via=10.0.0.1:5\r\n",
        ),
        (Peer("udp", "::1", 5, "::1", 7), b"peer=[::1]:5 local=[::1]:7 transport=udp family=ipv6\r\n"),
        (
            Peer("unix", "", 0, "/run/x", 0, Credentials(1, 2, 3)),
            b"peer=pid=1,uid=2,gid=3 local=/run/x transport=unix family=unix\r\n",
        ),
    ],
)
def test_whoami_sends_the_addresses_of_the_connection(peer: Peer, line: bytes) -> None:
    whoami = service("whoami")
    script(whoami, peer).sends(line).ends()
    assert datagram(whoami, b"", peer) == line
