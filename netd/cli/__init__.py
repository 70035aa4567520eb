"""The command line: one file a family of commands. They print, and pick the exit code; everything else is below."""
