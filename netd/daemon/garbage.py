"""The size of a config from which the supervisor and workers exclude its objects from garbage collection."""

MANY = 1000
"""Services. The objects of a config with more of them are frozen (`gc.freeze`), since a full collection would block the
loop for 0.1 s and more. Reference cycles among frozen objects are not collected when a reload replaces them."""
