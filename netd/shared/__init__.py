"""Counters and limits in memory that all processes of netd share, of fixed size, and its layout. No policy."""
