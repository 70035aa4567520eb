"""Where things stand in a sketch: fixed memory for any number of keys, each with one cell in each of four rows.

Which cells those are is a secret of the process (Python's hash of octets is keyed, PYTHONHASHSEED), which forked
workers share: no peer can choose a key that meets another's in all four.
"""

ROWS = 4


def places(key: bytes, width: int) -> tuple[int, int, int, int]:
    """The cells of a key, in rows of ``width`` cells one behind the other; a power of two, at most 65,536."""
    bits, mask = hash(key), width - 1
    return (
        bits & mask,
        width + (bits >> 16 & mask),
        2 * width + (bits >> 32 & mask),
        3 * width + (bits >> 48 & mask),
    )
