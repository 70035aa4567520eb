"""When a process keeps objects out of the garbage collector's sight (gc.freeze), in the supervisor and in workers."""

MANY = 1000
"""Services whose objects are not looked through for garbage again and again, which would hold up a loop for a tenth of
a second and more. They live as long as their config; of what replaced ones leave behind, circles are not found then."""
