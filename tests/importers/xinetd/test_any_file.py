"""Files made at random of what xinetd knows and does not know: a config that netd takes, or an error with a place."""

import random
import re
from pathlib import Path

import pytest

from netd.config import loader
from netd.config.problems import InvalidConfigError
from netd.errors import ConfigError
from netd.importers.account import Account
from netd.importers.programs import note_drop_ins
from netd.importers.xinetd import convert
from netd.importers.xinetd.attributes import KINDS
from netd.importers.yaml_text import render
from tests.importers.hosts import KnownHost

USUAL = ("type = UNLISTED", "port = 1025", "wait = no", "socket_type = stream", "user = root", "server = /bin/cat")
NAMES = (*KINDS, "interface", "unknown", "DISABLE")
OFTEN = {
    "type": ("INTERNAL UNLISTED", "UNLISTED"),
    "wait": ("no", "yes"),
    "socket_type": ("stream", "dgram"),
    "redirect": ("192.0.2.1 80", "25 80", "fe80::1 80", "a/b 80", "name https"),
}
WORDS = [
    "yes",
    "no",
    "0",
    "1",
    "9",
    "255",
    "0777",
    "1025",
    "65536",
    "-5",
    "5k",
    "UNLIMITED",
    "tcp",
    "udp",
    "raw",
    "INTERNAL",
    "RPC",
    "root",
    "/bin/cat",
    "/bin/login",
    "NAMEINARGS",
    "IPv4",
    "IPv6",
    "SENSOR",
    "KEEPALIVE",
    "10.0.0.0/8",
    "10.0.0.0",
    "::",
    "::1/128",
    "1.2.3.{1,2}",
    "{1}",
    "a,b",
    "#",
    "office",
    ".x",
    "known.example",
    "8:00-9:00",
    "23:59-0:00",
    "A=1",
    "=x",
    "B-C",
    "é",
    "�",
    "\x1b[2J",
    "{{",
    "$x",
    "@y@",
    "FILE",
    "SYSLOG",
    "HOST",
    "USERID",
    "TRAFFIC",
    "192.0.2.1",
    "*",
    "224.0.0.1",
    "fe80::1%eth0",
    "[::1]",
    "'\"",
    "off",
    "null",
    "~",
    ":",
    "-",
    "?",
    "&",
    "!",
    "x:y",
    "[a]",
    "--",
]


def line(chance: random.Random) -> str:
    name = chance.choice(NAMES)
    words = " ".join(chance.choice(WORDS) for _ in range(chance.choice([0, 1, 1, 1, 2, 3])))
    value = chance.choice(OFTEN[name]) if name in OFTEN and chance.random() < 0.8 else words
    return f"{name} {chance.choice(['=', '=', '+=', '-='])} {value}"


def text(chance: random.Random) -> str:
    entries = []
    for _ in range(chance.randint(1, 4)):
        keyword = chance.choice(["service", "service", "defaults"])
        lines = [*(USUAL if keyword == "service" else ()), *(line(chance) for _ in range(chance.randint(0, 8)))]
        chance.shuffle(lines)
        name = chance.choice(["echo", "time", "x", "daytime", chance.choice(WORDS)])
        entries += [f"# {chance.choice(WORDS)}", f"{keyword} {name}", "{", *lines, "}"]
    return "\n".join(entries)


@pytest.mark.parametrize("part", range(2))
def test_any_file_is_a_valid_config_or_an_error(part: int, tmp_path: Path) -> None:
    made = 0
    for seed in range(100 * part, 100 * part + 100):
        chance = random.Random(seed)
        (tmp_path / "x").write_bytes(text(chance).encode("utf-8", "surrogateescape"))
        account = Account()
        try:
            document = convert(str(tmp_path / "x"), account, KnownHost(), chance.choice(["debian", "rhel"]))
        except ConfigError as error:
            assert all(re.match(r".*/x:\d+: ", problem) for problem in error.problems), seed
            continue
        made += 1
        note_drop_ins(document, account)
        (tmp_path / "netd.yaml").write_text(render(document))
        assert all(str(finding).isprintable() for finding in account.findings)
        try:
            loader.load(tmp_path / "netd.yaml")
        except InvalidConfigError as error:
            absent = "does not exist|there is no (?:user|group)"
            assert [str(one) for one in error.found if not re.search(absent, str(one))] == [], seed
    assert made > 50
