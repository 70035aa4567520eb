"""What may go wrong with one server in one workload, which is a cell of the report and no reason to stop."""


class FailedError(Exception):
    """A server or the load did not do what it should; says what."""
