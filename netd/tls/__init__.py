"""TLS: its options, files and certificates, as values, and the contexts of OpenSSL. It reads no octet of a connection.

Of a service, read in this order: `options.py` is its key ``tls``; `sealed_files.py` copies its files to memory that
processes pass on; `service_files.py` is what a service has of them; `certificates.py` says what its certificates
contain, and is the only file that needs the package `cryptography`; `contexts.py` makes the contexts, and selects one
by the name that a client asks for, which `client_hello.py` finds. `buffers.py` has what connections of a context share.

`client.py` is for connections that this process opens, which resume what `last_session.py` has; `peer_certificate.py`
describes the certificate of their server.
"""
