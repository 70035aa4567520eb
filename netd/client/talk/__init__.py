"""`netd talk`: a line to the other end, a person at this one, and what is due, which know nothing of each other."""
