"""From YAML text to a checked config, or to all of its problems with their places (`problems.py`).

Read in this order: `loader.py` reads the files that are named (`include.py`) with `source.py` (YAML with the place of
each value) and `syntax.py` (what is wrong where there is no YAML); `renamed.py` takes old names of keys; `sections.py`
checks a section against its model (`model.py`), with the errors of pydantic in netd's words (`model_errors.py`), and
within `bounds.py`; `services.py` makes the services. What it asks about one kind of services, or one key, has a file of
its own: `addresses.py` (two services at one address), `banners.py`, `code.py` and `code_child.py` (Python files),
`executables.py` and `programs.py`, `forwards.py` and `forward_tls.py`, `isolation.py`, `proxies.py`, `rules.py` (access
rules), `sensors.py`, `tcpmux.py`, `tls.py` and `key_check.py`, `workers.py`; and of this host, `host.py` and
`drop_ins.py`.

Of a config that was loaded: `transfer.py` passes it to another process, `origins.py` and `in_force.py` are behind
`netd config`, and `schema.py` behind `netd schema`.
"""
