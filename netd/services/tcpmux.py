"""tcpmux (RFC 1078): one port, and the name of the service in the first line."""


class Tcpmux:
    """Reads a line with the name of a service, in any case, and has that service go on with the connection.

    Services with the key `tcpmux` can be named. A peer passes the access rules, times and limits of both services, and
    its connection counts for this one until it is passed on, then for the other. A name that there is not, and a
    service that refuses the peer, are answered with a line that begins with `-`. `HELP` lists the names. The line has
    at most 256 octets, and comes within ten seconds; what follows it is for the service named.
    """

    rfc = 1078
    multiplexes = True
    single_worker = True
