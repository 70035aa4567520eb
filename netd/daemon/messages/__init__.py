"""The messages between the supervisor and a worker, each a type, and what checks one that came.

`from_supervisor` has requests, each of which a worker answers with one response, and orders, which have no response.
`from_worker` has responses, and notices, which nothing asked for. `coding` is how all of them are written and read.
"""
