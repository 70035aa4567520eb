"""The messages between the supervisor and a worker. Each is a type, and each received message is checked.

`from_supervisor` has requests, which a worker answers with one response each, and orders, which have no response.
`from_worker` has responses, and notices, which are sent without a request. `coding` encodes and decodes all of them.
"""
