"""What all processes of netd count and limit together: memory of fixed size, and how it is laid out. No policy."""
