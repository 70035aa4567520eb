"""Tests of `netd/importers/inetd`."""
