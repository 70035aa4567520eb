"""netd beside the servers one would otherwise take: ``make bench``, explained in docs/benchmarks.md."""
