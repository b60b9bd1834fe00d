"""What a browser keeps for us between two steps of a sign-in, sealed; and what was good for one time and has been used.

So somebody who only begins, a thousand times a second, writes nothing into the database.
"""

from __future__ import annotations

import binascii
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

from sqlalchemy import Engine, delete, func
from sqlalchemy.dialects.postgresql import insert

from archive.database import change
from archive.people.models import Spent
from archive.people.sealing import CannotUnseal, Seal
from archive.people.sessions import digest

LONGEST: Final = 3500
"""Characters; a cookie may have 4096 bytes with its name (RFC 6265 6.1)."""


class Tickets:
    """Sealed by the key of `access.key_file`, which all web processes have."""

    def __init__(self, engine: Engine, seal: Seal) -> None:
        self._engine = engine
        self._seal = seal

    def issue(self, purpose: str, content: dict[str, Any], seconds: float) -> str:
        """A ticket with this content, for this purpose, good for so long. Raises `OSError`."""
        body = json.dumps({**content, "until": time.time() + seconds}).encode()
        return urlsafe_b64encode(self._seal.seal(body, f"ticket {purpose}")).decode()

    def read(self, purpose: str, ticket: str) -> dict[str, Any] | None:
        """The content, if we have issued it for this purpose and its time has not run out."""
        if not 0 < len(ticket) <= LONGEST:
            return None
        try:
            body = self._seal.unseal(urlsafe_b64decode(ticket.encode("ascii")), f"ticket {purpose}")
        except (CannotUnseal, binascii.Error, ValueError):
            return None
        content: dict[str, Any] = json.loads(body)
        return content if content["until"] > time.time() else None

    def spend(self, purpose: str, identifier: str, seconds: float) -> bool:
        """Take this as used; False if it was already. `seconds`: after that it is worth nothing anyhow."""
        until = func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        statement = insert(Spent).values(digest=digest(f"{purpose} {identifier}"), expires_at=until)
        return bool(change(self._engine, statement.on_conflict_do_nothing().returning(Spent.digest)))

    def tidy(self) -> None:
        """Forget what is worth nothing any more."""
        change(self._engine, delete(Spent).where(Spent.expires_at < func.clock_timestamp()))
