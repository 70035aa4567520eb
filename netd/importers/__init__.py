"""From the config of another super-server to one of netd: `netd import FORMAT`.

Read `account`, which says what became of each line of the source, then `document`, the config that is made, then
`yaml_text`, which writes it, then `source_files`, which reads within bounds, `host`, the facts about this host,
`programs`, what all programs have in common, `hosts_access`, the rules of tcp wrappers, and `validity`, whether netd
takes the service.

A format is a package (or file) of its name with a function that `netd/cli/import_command.py` calls::

    def convert(file: str, account: Account, host: Host, ...) -> Document

It reads with `Files.read`, adds a `Service` to the `Document` for each one it finds, with `Service.put` for each key
and the comments that stand above it, and tells the `Account` about each line: `imported`, `note` (the meaning is kept,
and the operator may not have known it) or `left_out`. Where leaving something out would widen access or change what is
run, it calls `Service.switch_off` with the reason. A source that the other daemon refuses raises `ConfigError`, with
the place. Nothing here executes a program, and the source is read only.
"""
