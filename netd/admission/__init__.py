"""Who may talk, and how much: pure policy on addresses, numbers and a clock. Transports ask it."""
