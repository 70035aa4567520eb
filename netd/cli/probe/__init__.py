"""`netd probe`: what is asked for, what is shown meanwhile, and what is said at the end."""
