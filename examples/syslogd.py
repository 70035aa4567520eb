"""A receiver of syslog messages (RFC 5424, RFC 3164) as a handler of datagrams: prints each as a line of JSON.

    netd run --service examples/syslogd.py:Syslog udp://localhost:7514

Then `logger --server localhost --port 7514 --udp hello`. It never answers. The lines are in the log of netd
(`line_printed`), which takes 20 a second and 1,000 characters of each; print to a file of your own for more. A syslogd
that sends from port 514, below 1024, needs `reply_guard: false` in the config of the service.
"""

import json
import re
import socketserver

FACILITIES = (
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp audit alert clock "
    "local0 local1 local2 local3 local4 local5 local6 local7"
).split()
SEVERITIES = "emerg alert crit err warning notice info debug".split()

_PRIORITY = re.compile(r"<(\d{1,3})>(.*)", re.DOTALL)
_RFC5424 = re.compile(
    r"1 (?P<time>\S+) (?P<host>\S+) (?P<program>\S+) (?P<pid>\S+) (?P<id>\S+) "
    r'(?P<data>-|(?:\[[^\]"]*(?:"(?:[^"\\]|\\.)*"[^\]"]*)*\])+)(?: (?P<text>.*))?',
    re.DOTALL,
)
_RFC3164 = re.compile(
    r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (?P<host>\S+) "
    r"(?:(?P<program>[^\s:\[]{1,32})(?:\[(?P<pid>[^\]\s]*)\])?: ?)?(?P<text>.*)",
    re.DOTALL,
)
_LONGEST = 2048  # octets of a message, as RFC 5424 (6.1) recommends


def parse(message: str) -> dict[str, str]:
    """The parts of a message. What has neither format is its text (RFC 3164, section 4.3)."""
    if not (found := _PRIORITY.fullmatch(message)) or int(found[1]) > 191:
        return {"facility": "user", "severity": "notice", "text": message}
    facility, severity = divmod(int(found[1]), 8)
    parts = {"facility": FACILITIES[facility], "severity": SEVERITIES[severity]}
    rest = _RFC5424.fullmatch(found[2]) or _RFC3164.fullmatch(found[2])
    if rest is None:
        return {**parts, "text": found[2]}
    text = {name: value for name, value in rest.groupdict().items() if value not in (None, "-")}
    # A text in UTF-8 may begin with a byte order mark (RFC 5424, 6.4).
    return {**parts, **text, "text": (rest["text"] or "").removeprefix("\ufeff")}


class Syslog(socketserver.DatagramRequestHandler):
    """Prints each message as a line of JSON."""

    def handle(self) -> None:
        message = self.rfile.read(_LONGEST).decode(errors="replace").rstrip("\r\n\0")
        print(json.dumps({"from": self.client_address[0], **parse(message)}), flush=True)
