"""Events: counters and log lines, kept together."""
