"""The failure of one server in one workload. It is shown in the report, and the run continues."""


class FailedError(Exception):
    """A server or the load failed; the text is the reason."""
