"""Options of the running xinetd."""

from netd.importers.account import Account
from netd.importers.xinetd.command_line import tell
from netd.importers.xinetd.telling import Teller
from tests.importers.hosts import KnownHost


class Started(KnownHost):
    """A host of Debian where xinetd has options."""

    def lines(self, path: str) -> list[str]:
        if "default" not in path:
            return []
        return ["# -filelog", 'XINETD_OPTS="-stayalive -inetd_compat -inetd_ipv6 -limit 30"']


def test_options_that_change_the_meaning_are_notes() -> None:
    account = Account()
    tell(Started(), Teller(account))
    found = [(str(one.place), one.text.partition(":")[0]) for one in account.findings]
    assert [place.partition("/xinetd")[2] for place, _ in found] == [":2", ":2"]
    assert found[0][1] == "xinetd reads /etc/inetd.conf too"
    assert found[1][1].startswith("xinetd starts so many programs")
