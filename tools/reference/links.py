"""Links in texts of the source: to the pages and to the keys of the config that they name."""

import re
from functools import cache

from netd.admission.access import AccessRules
from netd.admission.bans import BanRules
from netd.admission.limits import Limits
from netd.config.model import DaemonSection, LogSection
from netd.tls.options import TlsOptions
from netd.values import Model
from tools.reference.markdown import anchor
from tools.reference.options import tree

_SECTIONS: dict[str, type[Model]] = {
    "daemon": DaemonSection,
    "log": LogSection,
    "bans": BanRules,
    "access": AccessRules,
    "limits": Limits,
    "tls": TlsOptions,
}


@cache
def _keys() -> frozenset[str]:
    """The keys of these sections, as in ``limits.idle``."""
    return frozenset(option.name for name, model in _SECTIONS.items() for option in tree(model, f"{name}."))


def linked(text: str, page: str = "config.md") -> str:
    """The text, in which the names of pages, such as docs/tls.md, and of keys, such as `limits.idle`, are links.

    They lead from docs/reference. ``page`` is that of the config, empty on that page.
    """
    text = re.sub(r"\bdocs/reference/([\w-]+)\.md", r"[\1.md](\1.md)", text)
    text = re.sub(r"\bdocs/([\w-]+)\.md", r"[\1.md](../\1.md)", text)
    return re.sub(
        r"`([a-z_.]+)`",
        lambda key: f"[{key[0]}]({page}#{anchor(key[1])})" if key[1] in _keys() else key[0],
        text,
    )
