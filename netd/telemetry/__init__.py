"""What happened, told once: counters and log lines together."""
