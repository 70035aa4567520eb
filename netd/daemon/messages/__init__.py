"""The messages between the processes. Each is a type, and each received message is checked.

`from_supervisor` has requests, which a worker answers with one response each, and orders, which have no response.
`from_worker` has responses, and notices, which are sent without a request. `coding` encodes and decodes all of
them. `to_launcher` has what a launcher gets beside requests of workers, `programs` what workers and launchers tell each
other.
"""
