"""The process: the worker that serves, and what runs it."""
