"""Keys of units that netd has nothing for, and what leaving them out means. Pure."""

import re

NOTE, LEFT_OUT, OFF = "note", "left out", "off"
"""The meaning does not need it; it is missing in the result; without it the service could do more, or another thing."""

_OF_NETD = "the unit of netd has its own"
_WEAKER = "weaker here: what confines the program is the unit of netd"
_MANAGER = "netd manages its programs by itself"
_NO_OPTION = "netd has no such option of a socket"
_RUNS_MORE = "netd runs one command for a service"

_TABLE: tuple[tuple[str, str, str, str], ...] = (
    # section, expression for the key, what leaving it out means, text
    ("Unit", "(Condition|Assert).*", OFF, "netd asks no conditions"),
    ("Unit", "JoinsNamespaceOf", OFF, "netd shares no namespaces"),
    ("Unit", ".*", NOTE, f"it is about the unit; {_OF_NETD}"),
    ("Install", ".*", NOTE, f"it is about the unit; {_OF_NETD}"),
    ("Socket|Service", "Exec(Start|Stop)(Pre|Post)|ExecStop|ExecCondition", OFF, _RUNS_MORE),
    ("Service", "ExecReload.*", NOTE, "netd reloads no programs"),
    ("Socket", "Listen(FIFO|Special|Netlink|MessageQueue|USBFunction)", OFF, "netd listens on no such thing"),
    ("Socket", "SocketProtocol", OFF, "netd has TCP and UDP alone"),
    ("Socket", "SELinuxContextFromNet", OFF, "netd sets no contexts of SELinux"),
    ("Socket", "(Trigger|Poll)Limit(IntervalSec|Burst)", NOTE, "netd never stops to serve for this"),
    ("Socket", "RemoveOnStop", NOTE, "netd removes the paths of its sockets when it ends"),
    ("Socket", "FlushPending", NOTE, "netd loses nothing that waits in a socket"),
    ("Socket", "MaxConnections|MaxConnectionsPerSource", NOTE, "it has no effect without Accept=yes"),
    ("Socket", "Timeout.*", NOTE, "it is for the commands of the socket unit alone"),
    (
        "Socket",
        (
            "Priority|IPTOS|IPTTL|Mark|DeferAcceptSec|KeepAlive.+|Transparent|Broadcast|Pass.*|Timestamping|TCPCongestion"
            "|Smack.*|PipeSize|Symlinks|DirectoryMode|MessageQueue.*|AcceptFileDescriptors"
        ),
        LEFT_OUT,
        _NO_OPTION,
    ),
    ("Socket", "Slice|(CPU|Memory|Tasks|IO|Block).*", LEFT_OUT, "netd.service has the resources of all services"),
    ("Service", "DynamicUser", OFF, "netd makes no users"),
    ("Service", "EnvironmentFile", OFF, "netd reads no files of variables"),
    ("Service", "(Load|Set|Import)Credential.*|Sockets|OpenFile", OFF, "netd passes none on"),
    ("Service", "AmbientCapabilities|PAMName|NetworkNamespacePath", OFF, "netd gives programs no such right"),
    (
        "Service",
        "Root(Image|Hash|Verity).*|Bind(ReadOnly)?Paths|TemporaryFileSystem|Mount.*|Extension.*",
        OFF,
        "netd mounts nothing",
    ),
    (
        "Service",
        (
            "Private.*|Protect.*|Restrict.*|SystemCall.*|Capability.*|(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec)"
            "(Paths|Directories)|Device.*|IPAddress.*|IPIngress.*|IPEgress.*|IPAccounting|Secure.*|LockPersonality"
            "|MemoryDenyWriteExecute|RemoveIPC|Keyring.*|ProcSubset|AppArmor.*|SELinux.*|Smack.*|SocketBind.*|Personality"
            "|UnsetEnvironment"
        ),
        LEFT_OUT,
        _WEAKER,
    ),
    ("Service", "(Runtime|State|Cache|Logs|Configuration)Directory", NOTE, "netd does not make it: it has to exist"),
    ("Service", "(Runtime|State|Cache|Logs|Configuration)Directory.+", LEFT_OUT, "netd makes no directories"),
    (
        "Service",
        "Slice|Delegate|OOM.*|ManagedOOM.*|(CPU|Memory|Tasks|IO|Block|StartupCPU|StartupIO|NUMA).*|Limit.*|TimerSlack.*",
        LEFT_OUT,
        "netd has no such limit of a program",
    ),
    ("Service", "Syslog.*|Log.*|TTY.*", LEFT_OUT, "the log of netd has its own names and levels"),
    (
        "Service",
        (
            "Restart.*|StartLimit.*|Timeout(Start|Abort)?(Sec|FailureMode)?|RemainAfterExit|Kill.*|SendSIG.*|FinalKill.*"
            "|GuessMainPID|PIDFile|BusName|Notify.*|Watchdog.*|SuccessExitStatus|CollectMode|RestartKillSignal|ExitType"
            "|NonBlocking|FileDescriptorStore.*|USBFunction.*|IgnoreSIGPIPE|Utmp.*"
        ),
        LEFT_OUT,
        _MANAGER,
    ),
)
_COMPILED = tuple((re.compile(section), re.compile(key), kind, text) for section, key, kind, text in _TABLE)
_OF_COMMANDS = re.compile(
    "Private.*|Protect.*|Restrict.*|SystemCall.*|Capability.*|User|Group|NoNewPrivileges|UMask|.*Directory"
)
_HARMLESS = re.compile("no|false|off|0|infinity|inherit|disabled|none", re.IGNORECASE)


def meaning(section: str, key: str, value: str) -> tuple[str, str]:
    """What leaving an assignment out means, and the text for the account."""
    if section.startswith("X-") or key.startswith("X-"):
        return NOTE, "systemd ignores it"
    if section == "Socket" and _OF_COMMANDS.fullmatch(key):
        return NOTE, "it is for the commands of the socket unit, and does nothing for the service"
    for in_section, in_key, kind, text in _COMPILED:
        if in_section.fullmatch(section) and in_key.fullmatch(key):
            if kind != NOTE and _HARMLESS.fullmatch(value):
                return NOTE, "it changes nothing"
            return kind, text
    return LEFT_OUT, "netd has nothing like it, or systemd does not know it"
