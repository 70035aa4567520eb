"""The other end: what talks to a running netd, or to its services."""
