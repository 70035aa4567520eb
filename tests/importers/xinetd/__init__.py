"""Tests of `netd/importers/xinetd`."""
