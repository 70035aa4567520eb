"""The built-in services: one protocol family a file, pure; `netd.services.table` says which there are."""
