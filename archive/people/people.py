"""All that has to do with who uses the archive, under one name."""

from __future__ import annotations

import logging
from typing import Final

from sqlalchemy import Engine

from archive.audit.trail import Trail
from archive.background import Background
from archive.people.accounts import Accounts
from archive.people.attempts import Attempts
from archive.people.federation import Federation
from archive.people.own import OwnAccount
from archive.people.passkeys import Passkeys
from archive.people.passwords import Passwords
from archive.people.programs import Programs
from archive.people.sealing import Seal
from archive.people.sessions import Sessions
from archive.people.set_up import SetUpLinks
from archive.people.signing_in import SigningIn
from archive.people.tickets import Tickets
from config.logs import fields
from config.settings import Settings

log = logging.getLogger(__name__)

INTERVAL: Final = 3600.0


class People:
    """Accounts, how they sign in, and their sessions."""

    def __init__(self, engine: Engine, settings: Settings, trail: Trail) -> None:
        access = settings.access
        passwords, seal = Passwords(), Seal(access.key_file or settings.data_dir / "access.key")
        self.seal = seal
        self._attempts = Attempts(engine, access)
        self.sessions = Sessions(engine, access)
        self.accounts = Accounts(
            engine, access, trail, sessions=self.sessions, attempts=self._attempts, passwords=passwords
        )
        self.signing_in = SigningIn(
            engine,
            access,
            trail,
            sessions=self.sessions,
            attempts=self._attempts,
            passwords=passwords,
            seal=seal,
        )
        self.own = OwnAccount(
            engine,
            trail,
            signing_in=self.signing_in,
            sessions=self.sessions,
            attempts=self._attempts,
            passwords=passwords,
            seal=seal,
        )
        self.tickets = Tickets(engine, seal)
        self.programs = Programs(engine, trail, sessions=self.sessions, accounts=self.accounts, tickets=self.tickets)
        self.passkeys = Passkeys(engine, trail, signing_in=self.signing_in, own=self.own, tickets=self.tickets)
        self.set_up = SetUpLinks(
            engine,
            access,
            trail,
            accounts=self.accounts,
            signing_in=self.signing_in,
            sessions=self.sessions,
            passwords=passwords,
        )
        self.federation = Federation(
            engine,
            trail,
            accounts=self.accounts,
            signing_in=self.signing_in,
            sessions=self.sessions,
            seal=seal,
        )

    def tidy(self) -> int:
        """Disable idle accounts, and forget what no longer counts. Gives how many were disabled."""
        self._attempts.tidy()
        self.sessions.tidy()
        self.tickets.tidy()
        return self.accounts.disable_idle()

    def upkeep(self, interval: float = INTERVAL) -> Background:
        """A thread that tidies; several processes may have one."""

        def look() -> float:
            if disabled := self.tidy():
                log.info("idle accounts disabled", extra=fields(count=disabled))
            return interval

        return Background("account upkeep", look)
