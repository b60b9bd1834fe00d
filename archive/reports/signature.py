"""How a version is signed.

The method ``account`` is the word of the archive that somebody who had signed in pressed the button. It is
no electronic signature of the law on electronic transactions. A `SignatureCheck` is the place for one: it gets the
canonical text that was signed (`archive.reports.canonical`) and what the signing program gave, and says whether it
holds. A picture of a signature is none.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Protocol

from archive.errors import InvalidItem

ACCOUNT: Final = "account"


class SignatureCheck(Protocol):
    """Knows one method of electronic signatures."""

    def check(self, content: bytes, given: dict[str, Any], at: datetime) -> dict[str, Any]:
        """What to keep of a signature that holds: ``method``, ``certificate``, ``value`` and more.

        Raises `InvalidItem` for one that does not.
        """


class Signatures:
    """The methods that this archive takes."""

    def __init__(self, methods: dict[str, SignatureCheck], *, required: bool) -> None:
        self._methods = methods
        self.required = required
        """Whether the account alone is not enough."""

    def check(self, content: bytes, given: dict[str, Any] | None, login: str, at: datetime) -> dict[str, Any]:
        """What to keep as the signature of this content. Raises `InvalidItem`."""
        if given is None:
            if self.required:
                raise InvalidItem.of({"signature": "is needed: nothing is signed here without an electronic signature"})
            return {"method": ACCOUNT, "by": login, "at": at.isoformat()}
        method = self._methods.get(str(given.get("method", "")))
        if method is None:
            known = ", ".join(sorted(self._methods)) or "none"
            raise InvalidItem.of({"signature": f"is of a method that is not known here (known: {known})"})
        return {**method.check(content, given, at), "by": login, "at": at.isoformat()}
