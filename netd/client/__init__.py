"""Clients: of a running netd (``control.py``), and of services (``talk/``, ``probe/``) by their URLs (``urls.py``)."""
