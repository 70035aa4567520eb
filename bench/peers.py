"""The servers that are measured: the command of each for a protocol, and the programs and packages it needs."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.certificate import certificate
from bench.workloads import PROTOCOLS, Workload

HERE = Path(__file__).parent
BUILD = HERE / "build"
_PYTHON = BUILD / "env" / "bin" / "python"
NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"
"""Of Debian's libnginx-mod-stream."""
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/lib/systemd", "/lib/systemd"])


@dataclass(frozen=True)
class Place:
    """The port and the directory of a server that is to be started."""

    protocol: str
    port: int
    """On 127.0.0.1."""
    directory: Path
    """A directory for its files."""
    connections: int
    """The number of connections of the workload."""
    second: int = 0
    """The second port: of the programs for `beside`, of the target for `forward` and `tls`."""


@dataclass(frozen=True)
class Peer:
    """A server to measure."""

    name: str
    what: str
    serves: tuple[str, ...]
    """Protocols, see `workloads.PROTOCOLS`."""
    command: Callable[[Place], list[str]]
    program: str | None = None
    """The program that has to be installed,"""
    module: str | None = None
    """or the Python package, in the environment of the benchmark."""
    needs_file: str | None = None
    """A file that it needs."""
    needs_root: bool = False
    echoes: bool = False
    """Whether it echoes in workloads in which other servers answer lines."""
    most: int = 10_000
    """The most connections of a workload for it; fewer where each is a process."""
    asked_to_stop: bool = False
    """Whether it has to be asked to stop (SIGTERM), since it removes then what a kill would leave."""
    variant: bool = False
    """Whether it takes part only in workloads that name it."""
    cores: int = 1

    def serves_in(self, workload: Workload) -> bool:
        """Whether it takes part in a workload."""
        chosen = not self.variant or self.name in workload.variants
        return chosen and workload.protocol in self.serves and workload.connections <= self.most

    def missing(self) -> str | None:
        """The program or package that is not installed; None if there is none."""
        if self.program and not shutil.which(self.program, path=_PATH):
            return self.program
        if self.module and not _has(self.module):
            return self.module
        if self.needs_file and not os.path.exists(self.needs_file):
            return self.needs_file
        if self.needs_root and os.geteuid():
            return "the rights of root"
        return None


@cache
def _has(module: str) -> bool:
    if not _PYTHON.exists():
        return False
    return subprocess.run([_PYTHON, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


@cache
def program(name: str) -> str:
    """The path of an installed program."""
    found = shutil.which(name, path=_PATH)
    assert found, name
    return found


def _python(script: str, *words: str) -> Callable[[Place], list[str]]:
    """A server of bench/servers."""
    # asyncio and socketserver need no package, but use the interpreter of that environment too, where there is one.
    python = str(_PYTHON) if _PYTHON.exists() else sys.executable
    return lambda place: [python, str(HERE / "servers" / script), *words, place.protocol, str(place.port)]


def _limit(place: Place) -> list[str]:
    protocol = place.protocol if place.protocol in ("udp", "chargen", "programs") else "tcp"
    return [str(BUILD / "limit"), protocol, str(place.port)]


def netd(
    *, service: str | None = None, workers: int = 1, connections: str | None = None, stderr: str = "'null'"
) -> Callable[[Place], list[str]]:
    """The default config of netd. Only limits that a workload would exceed are raised."""

    def command(place: Place) -> list[str]:
        scheme = {"udp": "udp", "udp-forward": "udp", "tls": "tls"}.get(place.protocol, "tcp")
        name = service or (place.protocol if place.protocol in ("pingpong", "time", "chargen", "check") else "echo")
        options = {
            "time": ", options: {encoding: text, greeting: true}",
            "check": ", options: {command: [/bin/true], cache: 2s}",
        }.get(name, "")
        if scheme == "tls":
            options += f", tls: {{certificate: '{certificate(place.directory)}'}}"
        services = [f"{name}: {{listen: ['{scheme}://127.0.0.1:{place.port}']{options}}}"]
        if place.protocol in ("programs", "beside"):
            cat = f"type: exec, options: {{command: [/bin/cat], stderr: {stderr}}}"
            services = services if place.second else []
            services.append(f"cat: {{{cat}, listen: ['tcp://127.0.0.1:{place.second or place.port}']}}")
        if place.protocol in ("forward", "udp-forward", "tls") and not service:
            target = "udp" if scheme == "udp" else "tcp"
            forward = f"type: forward{options}, options: {{to: ['{target}://127.0.0.1:{place.second}']}}"
            services = [f"web: {{{forward}, listen: ['{scheme}://127.0.0.1:{place.port}']}}"]
        daemon = [f"workers: {workers}"] if workers > 1 else []
        if place.protocol == "handler":
            threads = min(place.connections + 20, 1024)
            python = (
                f"type: python, options: {{class: '{HERE}/servers/handler.py:Echo'}}, limits: {{threads: {threads}}}"
            )
            services = [f"echo: {{{python}, listen: ['tcp://127.0.0.1:{place.port}']}}"]
            daemon.append(f"threads: {threads}")
        lines = [f"services: {{{', '.join(services)}}}"]
        if place.connections > 8000:
            most = place.connections + 100
            daemon.append(f"connections: {most}")
            lines.append(f"defaults: {{limits: {{connections: {most}}}}}")
        if daemon:
            lines.append(f"daemon: {{{', '.join(daemon)}}}")
        if connections:
            lines.append(f"log: {{connections: {connections}}}")
        file = place.directory / "netd.yaml"
        file.write_text("\n".join(lines) + "\n")
        return [sys.executable, "-m", "netd", "run", "-c", str(file)]

    return command


def _xinetd(place: Place) -> list[str]:
    """The internal services of xinetd, or cat(1); with limits raised for the load, and without look-ups of libwrap."""
    name = "chargen" if place.protocol == "chargen" else "echo"
    internal = _xinetd_service(name, place.port, "INTERNAL UNLISTED", "udp" if place.protocol == "udp" else "tcp")
    cat = _xinetd_service("cat", place.second or place.port, "UNLISTED", "tcp", f" server = {program('cat')}\n")
    redirect = _xinetd_service("web", place.port, "UNLISTED", "tcp", f" redirect = 127.0.0.1 {place.second}\n")
    services = {"programs": cat, "beside": internal + cat, "forward": redirect}.get(place.protocol, internal)
    log = f"FILE {place.directory}/xinetd.log"
    if place.protocol == "logged":
        log += "\n log_on_success = PID HOST DURATION EXIT"
    file = place.directory / "xinetd.conf"
    limits = "instances = UNLIMITED\n per_source = UNLIMITED\n cps = 1000000 1"
    file.write_text(f"defaults\n{{\n {limits}\n log_type = {log}\n}}\n{services}")
    pid_file = str(place.directory / "xinetd.pid")
    return [program("xinetd"), "-dontfork", "-stayalive", "-f", str(file), "-pidfile", pid_file]


def _xinetd_service(name: str, port: int, kind: str, protocol: str, more: str = "") -> str:
    stream = protocol == "tcp"
    user = _user_of_programs() if more else _user()
    return (
        f"service {name}\n{{\n type = {kind}\n socket_type = {'stream' if stream else 'dgram'}\n"
        f" protocol = {protocol}\n wait = {'no' if stream else 'yes'}\n flags = NOLIBWRAP\n"
        f" user = {user}\n bind = 127.0.0.1\n port = {port}\n{more}}}\n"
    )


def _inetd(place: Place) -> list[str]:
    """Here cat(1) is the echo, since the internal one is for port 7 only."""
    file = place.directory / "inetd.conf"
    cat = program("cat")
    file.write_text(f"127.0.0.1:{place.port} stream tcp nowait.1000000 {_user_of_programs()} {cat} cat\n")
    return [program("inetd"), "-i", "-q", "1024", "-R", "1000000", str(file)]


def _socat(place: Place) -> list[str]:
    if place.protocol == "udp-forward":
        listen = f"UDP4-LISTEN:{place.port},bind=127.0.0.1,reuseaddr,fork"
        return [program("socat"), listen, f"UDP4:127.0.0.1:{place.second}"]
    if place.protocol == "udp":
        listen = f"UDP4-RECVFROM:{place.port},bind=127.0.0.1,fork"
    else:
        listen = f"TCP4-LISTEN:{place.port},bind=127.0.0.1,reuseaddr,nodelay,backlog=1024,fork"
    return [program("socat"), listen, f"TCP4:127.0.0.1:{place.second},nodelay" if place.second else "PIPE"]


def _haproxy(place: Place) -> list[str]:
    file = place.directory / "haproxy.cfg"
    tls = f" ssl crt {certificate(place.directory)}" if place.protocol == "tls" else ""
    file.write_text(
        f"global\n nbthread 1\n maxconn {place.connections + 1000}\n"
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 5m\n timeout server 5m\n"
        f"listen web\n bind 127.0.0.1:{place.port} backlog 1024{tls}\n maxconn {place.connections + 1000}\n"
        f" server target 127.0.0.1:{place.second}\n"
    )
    return [program("haproxy"), "-db", "-f", str(file)]


def _nginx(place: Place) -> list[str]:
    file = place.directory / "nginx.conf"
    user = f"user {_user()};\n" if not os.geteuid() else ""
    how = "udp" if place.protocol == "udp-forward" else "backlog=1024"
    if place.protocol == "tls":
        pem = certificate(place.directory)
        how += f" ssl; ssl_certificate {pem}; ssl_certificate_key {pem}; ssl_protocols TLSv1.3"
    file.write_text(
        f"load_module {NGINX_STREAM};\n{user}daemon off;\nworker_processes 1;\npid {place.directory}/nginx.pid;\n"
        f"error_log {place.directory}/error.log;\nevents {{ worker_connections {2 * place.connections + 1000}; }}\n"
        f"stream {{ server {{ listen 127.0.0.1:{place.port} {how}; proxy_timeout 5m;\n"
        f" proxy_pass 127.0.0.1:{place.second}; }} }}\n"
    )
    return [program("nginx"), "-c", str(file), "-p", str(place.directory), "-e", f"{place.directory}/error.log"]


def _stunnel(place: Place) -> list[str]:
    file = place.directory / "stunnel.conf"
    file.write_text(
        "foreground = yes\npid =\ndebug = err\nsyslog = no\n"
        "socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
        f"[web]\naccept = 127.0.0.1:{place.port}\nconnect = 127.0.0.1:{place.second}\n"
        f"cert = {certificate(place.directory)}\n"
    )
    return [program("stunnel"), str(file)]


def _socket_proxyd(place: Place) -> list[str]:
    words = ["-l", f"127.0.0.1:{place.port}", program("systemd-socket-proxyd")]
    most = f"--connections-max={place.connections + 1000}"
    return [program("systemd-socket-activate"), *words, most, f"127.0.0.1:{place.second}"]


def _tcpserver(place: Place) -> list[str]:
    options = ["-H", "-R", "-l0", "-b1024", f"-c{place.connections + 100}"]
    if not os.geteuid():
        nobody = pwd.getpwnam("nobody")
        options += [f"-u{nobody.pw_uid}", f"-g{nobody.pw_gid}"]
    return [program("tcpserver"), *options, "127.0.0.1", str(place.port), program("cat")]


def _socket_activate(place: Place) -> list[str]:
    words = ["--accept", "--inetd", "-E", "LANG", "-l", f"127.0.0.1:{place.port}"]
    return [program("systemd-socket-activate"), *words, program("cat")]


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _user_of_programs() -> str:
    """The user as which netd would start programs too."""
    return _user() if os.geteuid() else "nobody"


_LIMIT = tuple(
    protocol for protocol in PROTOCOLS if protocol not in ("handler", "beside", "forward", "udp-forward", "tls")
)
_PROCESSES = 1000  # connections, where each is a process

PEERS = (
    Peer("C", "a bare loop of epoll, recvfrom or posix_spawn, bench/limit.c", _LIMIT, _limit, echoes=True),
    Peer("netd", "with its default config; `stderr: null` for programs", PROTOCOLS, netd()),
    Peer(
        "netd echo",
        "the same lines, echoed; over TLS, with no target",
        ("pingpong", "time", "check", "tls"),
        netd(service="echo"),
        echoes=True,
        variant=True,
    ),
    Peer("netd 2 workers", "on all cores but that of the load", ("tcp",), netd(workers=2), variant=True, cores=2),
    Peer(
        "netd without log",
        "with `log: {connections: off}`",
        ("logged", "programs"),
        netd(connections="off"),
        variant=True,
    ),
    Peer(
        "netd stderr log",
        "programs with the default, `stderr: log`",
        ("programs",),
        netd(stderr="log"),
        variant=True,
    ),
    Peer(
        "stock", "socketserver.ThreadingTCPServer, ThreadingUDPServer", ("tcp", "udp", "handler"), _python("stock.py")
    ),
    Peer("asyncio", "asyncio.Protocol", ("tcp", "udp", "pingpong", "time"), _python("loops.py", "asyncio")),
    Peer(
        "uvloop",
        "asyncio.Protocol on uvloop",
        ("tcp", "udp", "pingpong", "time"),
        _python("loops.py", "uvloop"),
        module="uvloop",
    ),
    Peer("gevent", "StreamServer, DatagramServer", ("tcp", "udp"), _python("greenlets.py"), module="gevent"),
    Peer("Twisted", "on its epoll reactor", ("tcp", "udp"), _python("reactor.py"), module="twisted"),
    Peer(
        "xinetd",
        "its internal services, which fork for each connection; programs: with cat(1); forwarding: redirect",
        ("tcp", "udp", "chargen", "logged", "programs", "beside", "forward"),
        _xinetd,
        program="xinetd",
        most=_PROCESSES,
    ),
    Peer("inetd", "openbsd-inetd, with cat(1)", ("tcp", "programs"), _inetd, program="inetd", most=_PROCESSES),
    Peer(
        "socat",
        "with fork, to a pipe or a target",
        ("tcp", "udp", "forward", "udp-forward"),
        _socat,
        program="socat",
        most=_PROCESSES,
    ),
    Peer("HAProxy", "mode tcp, with one thread", ("forward", "tls"), _haproxy, program="haproxy"),
    Peer(
        "nginx",
        "stream, with one worker",
        ("forward", "udp-forward", "tls"),
        _nginx,
        program="nginx",
        needs_file=NGINX_STREAM,
    ),
    Peer("stunnel", "with a thread for each connection", ("tls",), _stunnel, program="stunnel"),
    Peer(
        "ssl",
        "epoll and Python's ssl, an echo with no target: what OpenSSL takes",
        ("tls",),
        lambda place: [
            sys.executable,
            str(HERE / "servers" / "secure.py"),
            str(place.port),
            str(certificate(place.directory)),
        ],
    ),
    Peer(
        "socket-proxyd",
        "systemd-socket-proxyd, behind systemd-socket-activate",
        ("forward",),
        _socket_proxyd,
        program="systemd-socket-proxyd",
        most=_PROCESSES,  # it needs six descriptors for each
    ),
    Peer("tcpserver", "ucspi-tcp, with cat(1)", ("tcp", "programs"), _tcpserver, program="tcpserver", most=_PROCESSES),
    Peer(
        "systemd",
        "as PID 1 of a lab, a socket unit with Accept=yes, with cat(1)",
        ("programs",),
        lambda place: [sys.executable, str(HERE / "servers" / "units.py"), str(place.port)],
        program="systemd",
        needs_root=True,
        asked_to_stop=True,
    ),
    Peer(
        "socket-activate",
        "systemd-socket-activate --accept --inetd, with cat(1)",
        ("programs",),
        _socket_activate,
        program="systemd-socket-activate",
    ),
)
