"""Tests of `netd/importers`; `samples/` has files of the other daemons, with the config and the account expected."""
