"""`netd probe`: options in ``command.py``, the live table in ``live.py``, the summary at the end in ``summary.py``."""
