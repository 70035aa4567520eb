"""inetd.conf(5): what the inetd of a system does with its lines, as services of netd.

`dialects` says how each inetd reads, `lines` splits a file into lines and words (`keys` those of NetBSD), and `entries`
says what the words mean; all of these are pure. `include` finds the files of an include. `listen` and `program` make
the parts of a service, and `convert` all services.
"""

from netd.importers.inetd.convert import convert

__all__ = ["convert"]
