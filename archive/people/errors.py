"""Why somebody does not get in, or an account is not changed."""

from __future__ import annotations

from archive.errors import InvalidItem, NotPermitted


class WrongCredentials(NotPermitted):
    """Name, password or code are not right. Never says which."""

    def __init__(self) -> None:
        super().__init__("the name, the password or the code is wrong")


class Locked(NotPermitted):
    """Too many wrong tries under this name, whether there is such an account or not."""

    def __init__(self) -> None:
        super().__init__("too many wrong tries: wait, or ask an administrator")


class SessionEnded(NotPermitted):
    """The sign-in took too long, or was ended from elsewhere."""

    def __init__(self) -> None:
        super().__init__("the sign-in has ended: begin anew")


class BadPassword(InvalidItem):
    """A new password breaks the rules. `keys` are those of `archive.people.passwords.faults`, and ``used``."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__(f"the new password cannot be used: {', '.join(keys).replace('_', ' ')}")
        self.keys = keys
