"""The built-in services: a file or package for each type, named as the type; `netd.services.table` lists them."""
