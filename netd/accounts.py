"""Users and groups of this host by name or number (passwd(5), group(5)), and the one way to say that there is none."""

import grp
import os
import pwd
import re

from netd.text import shown

_LEFT = 2**32 - 1  # chown(2) and setresuid(2) take it for "leave it as it is"


def parse_number(text: str) -> int | None:
    """The number of a user or group that the text is; None for a name, and for what can be neither's number."""
    number = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else _LEFT
    return number if number < _LEFT else None


def number(kind: str, name: str) -> int:
    """The number of a user (``uid``) or group (``gid``); a number is itself. ValueError: there is none."""
    if (given := parse_number(name)) is not None:
        return given
    if kind == "uid":
        return find_user(name).pw_uid
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise ValueError(f"there is no group {shown(name)}") from None


def find_user(name: str) -> pwd.struct_passwd:
    """The account of a user, by name or number. ValueError where there is none."""
    given = parse_number(name)
    try:
        return pwd.getpwnam(name) if given is None else pwd.getpwuid(given)
    except (KeyError, ValueError):
        raise ValueError(f"there is no user {shown(name)}") from None


def groups_of(user: int, group: int | None = None) -> list[int]:
    """The groups of a user: ``group``, or without it the account's own one, and the supplementary ones."""
    try:
        account = pwd.getpwuid(user)
    except KeyError:
        return [] if group is None else [group]
    return os.getgrouplist(account.pw_name, account.pw_gid if group is None else group)
