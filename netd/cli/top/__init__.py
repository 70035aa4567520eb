"""`netd top`: the services of a running netd, updated live on a terminal."""
