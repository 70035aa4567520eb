"""A message of a worker, or of a launcher, of each type, and values for their fields."""

from netd.daemon.messages.from_worker import (
    Alive,
    Busy,
    ConnectionList,
    ConnectionRow,
    Done,
    Failed,
    HangingRow,
    Kicked,
    ListenerHeld,
    Notice,
    Offender,
    PeerList,
    PeerRow,
    ProgramsChanged,
    ReportWanted,
    Response,
    TraceLines,
    Visitor,
    Visitors,
    WorkerFault,
)

ROW = ConnectionRow("0-7-1", "echo", "tcp", "192.0.2.7:4711", "192.0.2.1:7", 1.5, 0, 3, 4, "4 octets")
LINE = [1.0, "in", "x", 1, "61", ""]
SENT: list[Response | Notice] = [
    Done(),
    Failed("no descriptors left"),
    Alive(3),
    Alive(0, [HangingRow("echo", "echo.py:7 in handle", "192.0.2.7:4711", 10.5, 0.25)]),
    ConnectionList(2, [ROW]),
    PeerList(7, [PeerRow("192.0.2.7", 7, 1, 2)]),
    Kicked(3),
    Busy(),
    Offender("c0000207", "echo", "rate"),
    Visitors([Visitor("c0000207", "sensor")]),
    ReportWanted("status"),
    TraceLines(1, [(1.5, "in", "192.0.2.7:4711", 2, "6869", "10.0.0.1:5")], 0),
    ProgramsChanged("rsync", 3, 0, "signal", 265, 0.0015, 1.5),
    ListenerHeld(7, 4711),
    WorkerFault(1, "Start: a descriptor is no socket"),
]
