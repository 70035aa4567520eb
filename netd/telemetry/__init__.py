"""Events: counters and log lines, kept together: a method for each event moves the counter and writes the line.

The files of events: `daemon_events.py`, `listener_events.py` (of sockets that are opened), `service_events.py` (of
connections and datagrams), `program_events.py`, `forward_events.py` (of targets), `sensor_events.py` and
`code_events.py` (what the code of others prints). What a peer can cause at will is throttled (`throttle.py`).
`fields.py` has the meaning of each field.

Log lines: `logs.py` sets up the log, on `structured.py`; `formats.py`, `journal.py` and `syslog.py` render a line, and
`sink.py` writes it, and never waits. Counters are in `netd.shared.table`: `counters.py` gives them the names of JSON,
and `exposition.py` those of Prometheus.
"""
