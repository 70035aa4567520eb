"""Links by which a command finds this netd from the path of its config, also after the file has changed."""

import contextlib
import os

from netd import default_paths, paths


class ControlLinks:
    """Links to the control socket in the runtime directory (`default_paths.control_links`), until they are closed.

    If netd may not make a link, it makes none: a command also tries the path in the config.
    """

    def __init__(self, file: str, control: str) -> None:
        self._links: list[tuple[str, int]] = []
        target = control if control.startswith("@") else os.path.realpath(control)
        directory = default_paths.directory()
        for path in default_paths.control_links(file, directory) if directory else ():
            with contextlib.suppress(OSError, ValueError):
                self._links.append((path, paths.make_link(path, target)))

    def close(self) -> None:
        """Remove the links that are still this netd's. One may belong to a netd that started later with the config."""
        for path, descriptor in self._links:
            with contextlib.suppress(OSError):
                paths.remove(path, descriptor)
            os.close(descriptor)
        self._links = []
