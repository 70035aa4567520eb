"""Contents that an attacker in control of a worker may write to the shared memory."""

FILLS = (b"\xff" * 8, b"\x41" * 8, b"\xff" * 7 + b"\x7f")
"""As numbers of eight octets: -1, more than a counter can reach, and the largest number."""
