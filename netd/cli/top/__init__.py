"""`netd top`: what a running netd does, kept up to date on a terminal."""
