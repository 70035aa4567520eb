"""Users and groups of this host by name or number (passwd(5), group(5))."""

import grp
import os
import pwd
import re

from netd.text import shown

_UNCHANGED = 2**32 - 1  # chown(2) and setresuid(2) take it for "leave it as it is"


def parse_id(text: str) -> int | None:
    """The uid or gid that the text is; None for a name, and for a number that is none."""
    number = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else _UNCHANGED
    return number if number < _UNCHANGED else None


def find_id(kind: str, name: str) -> int:
    """The number of a user (``uid``) or group (``gid``), by name. A number is returned as it is.

    Raises ValueError if no account has this name.
    """
    if (given := parse_id(name)) is not None:
        return given
    if kind == "uid":
        return find_user(name).pw_uid
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        raise ValueError(f"there is no group {shown(name)}") from None


def is_of_a_service(uid: int) -> bool:
    """Whether a uid is of an account that is for services only: of the system, dynamic, or `nobody`.

    The ranges are those of systemd (https://systemd.io/UIDS-GIDS/); root is not among them.
    """
    return 0 < uid < 1000 or 61184 <= uid < 65520 or uid == 65534


def find_user(name: str) -> pwd.struct_passwd:
    """The account of a user, by name or number. Raises ValueError if there is none."""
    given = parse_id(name)
    try:
        return pwd.getpwnam(name) if given is None else pwd.getpwuid(given)
    except (KeyError, ValueError):
        raise ValueError(f"there is no user {shown(name)}") from None


def user_name(user: int) -> str:
    """The name of a user, or ``uid=1234`` for one without an account."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"uid={user}"


def groups_of(user: int, group: int | None = None) -> list[int]:
    """The supplementary groups of a user and its primary one: ``group``, or without it that of the account."""
    try:
        account = pwd.getpwuid(user)
    except KeyError:
        return [] if group is None else [group]
    return os.getgrouplist(account.pw_name, account.pw_gid if group is None else group)
