"""Tests of netd.tls."""
