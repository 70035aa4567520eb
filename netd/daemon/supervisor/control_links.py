"""The links by which a command finds this netd from the config that it was started with, whatever the file says now."""

import contextlib
import os

from netd import default_paths, paths


class ControlLinks:
    """Links to the control socket in the runtime directory (`places.control_links`), until they are closed.

    Where netd may not make one, there is none: a command looks where the config says, too.
    """

    def __init__(self, file: str, control: str) -> None:
        self._links: list[tuple[str, int]] = []
        target = control if control.startswith("@") else os.path.realpath(control)
        directory = default_paths.directory()
        for path in default_paths.control_links(file, directory) if directory else ():
            with contextlib.suppress(OSError, ValueError):
                self._links.append((path, paths.make_link(path, target)))

    def close(self) -> None:
        """Remove those that are still there; one may be that of a netd that was started later with the same config."""
        for path, descriptor in self._links:
            with contextlib.suppress(OSError):
                paths.remove(path, descriptor)
            os.close(descriptor)
        self._links = []
