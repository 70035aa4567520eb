"""Reads entries as systemd-journald does."""


def fields(entry: bytes) -> dict[str, str]:
    """The fields of an entry."""
    found: dict[str, str] = {}
    while entry:
        line, _, rest = entry.partition(b"\n")
        key, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        assert key.decode() not in found, "a field twice"
        found[key.decode()], entry = value.decode(), rest
    return found
