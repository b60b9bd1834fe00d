"""Writes the audit trail."""

from __future__ import annotations

from sqlalchemy import Engine, insert

from archive.audit.events import AuditEvent
from archive.audit.models import AuditRecord
from archive.database import change


class Trail:
    """What every part of the archive tells its acts to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, event: AuditEvent) -> None:
        """Record an act durably, before its result is given out. Raises `IndexUnavailable`: then do not act."""
        caller = event.caller
        change(
            self._engine,
            insert(AuditRecord).values(
                action=event.action.value,
                outcome=event.outcome.value,
                kind=caller.kind.value,
                name=caller.name,
                account_id=caller.account,
                address=caller.address,
                studies=list(event.studies),
                patient_id=event.patient_id,
                issuer_of_patient_id=event.issuer_of_patient_id,
                purpose=event.purpose or caller.purpose,
                detail=dict(event.detail),
            ),
        )
