"""Helpers for tests of several packages, by subject."""
