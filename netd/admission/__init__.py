"""Admission: which peers are served, and how much. Pure policy on addresses, numbers and a clock."""
