"""The cells of a key in a sketch: fixed memory for any number of keys, each with one cell in each of four rows.

The cells depend on a secret of the process (Python's hash of octets is keyed, see PYTHONHASHSEED), which forked workers
share. So no peer can choose a key that has all four cells in common with another one.
"""

ROWS = 4


def places(key: bytes, width: int) -> tuple[int, int, int, int]:
    """The cells of a key. The rows follow each other; ``width``, their length, is a power of two, at most 65,536."""
    bits, mask = hash(key), width - 1
    return (
        bits & mask,
        width + (bits >> 16 & mask),
        2 * width + (bits >> 32 & mask),
        3 * width + (bits >> 48 & mask),
    )
