"""From YAML text to a checked config: `source` reads, `model` says what is right, `loader` finds every problem."""
