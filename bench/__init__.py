"""Benchmarks of netd and comparable servers: ``make bench``, explained in docs/benchmarks.md."""
