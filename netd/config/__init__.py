"""From YAML text to a checked config: `source` reads files, `model` defines sections, `loader` finds every problem."""
