"""Errors at the limits of this process."""

import errno
import os
import resource

from netd.daemon.resource_limits import described, too_few_descriptors

ADVICE = "raise the limit (ulimit -n, or LimitNOFILE= of the unit)"


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_error_names_the_limit_of_descriptors() -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert described(error(errno.EMFILE)) == f"Too many open files: {limit} are allowed; {ADVICE}"
    assert too_few_descriptors(3) == (
        f"Too many open files: {limit} are allowed, and one connection to these services needs {limit + 3}; {ADVICE}"
    )


def test_error_at_another_limit_says_where_to_look() -> None:
    assert described(error(errno.ENOMEM)) == "Cannot allocate memory; see the limits of this process (ulimit -a)"
