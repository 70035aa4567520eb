"""Tests of `netd/importers/systemd`."""
