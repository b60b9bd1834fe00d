"""How results were handed over: what film, link or disc each study went by, for whoever asks for evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from sqlalchemy import Engine, insert, select

from archive.access import visible
from archive.audit.events import Action, AuditEvent
from archive.audit.trail import Trail
from archive.database import change
from archive.delivery.models import Delivery, ShareLink
from archive.errors import NotFound
from archive.models import Facility, Patient, Study
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.reading import Reader

Mode = Literal["film", "portal", "qr", "dicom_media"]
MODES: Final[tuple[str, ...]] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class DeliveryEntry:
    """One delivery. `first_opened_at` is when a link was first opened; None for all else."""

    mode: Mode
    delivered_at: datetime
    delivered_by: str
    link: int | None
    first_opened_at: datetime | None


class Deliveries:
    """Keeps and gives them."""

    def __init__(self, engine: Engine, reader: Reader, audit: Trail) -> None:
        self._engine = engine
        self._reader = reader
        self._audit = audit

    def record(self, caller: Caller, study: str, mode: Mode, purpose: str = "") -> None:
        """Note that a study is handed over now, before it is. The holder of a link takes what is theirs.

        Raises `NotFound`, `NotPermitted` where the caller may not deliver, `IndexUnavailable`.
        """
        scope = caller.scope()
        rows = self._reader.fetch(
            scope,
            select(Study.id, Patient.patient_id, Patient.issuer, Facility.code)
            .join(Patient, Patient.id == Study.patient_id)
            .join(Facility, Facility.id == Study.facility_id)
            .where(Study.study_instance_uid == study, Study.quarantine == "", visible(scope)),
        )
        if not rows:
            raise NotFound("no such study")
        if caller.kind is not Kind.LINK:
            caller.require(Right.DELIVER, rows[0].code)
        self._audit.record(
            AuditEvent(
                Action.DELIVER,
                caller,
                studies=(study,),
                patient_id=rows[0].patient_id,
                issuer_of_patient_id=rows[0].issuer,
                purpose=purpose,
                detail={"mode": mode},
            )
        )
        values = {"study_id": rows[0].id, "mode": mode, "delivered_by": caller.name, "link_id": caller.link}
        change(self._engine, insert(Delivery).values(**values))

    def of_study(self, caller: Caller, study: str) -> Sequence[DeliveryEntry]:
        """What a study went by, the latest first. Raises `NotPermitted`, `IndexUnavailable`."""
        scope = caller.scope()
        rows = self._reader.fetch(
            scope,
            select(
                Delivery.mode,
                Delivery.delivered_at,
                Delivery.delivered_by,
                Delivery.link_id.label("link"),
                ShareLink.first_opened_at,
            )
            .join(Study, Study.id == Delivery.study_id)
            .outerjoin(ShareLink, ShareLink.id == Delivery.link_id)
            .where(Study.study_instance_uid == study, visible(scope))
            .order_by(Delivery.id.desc()),
        )
        return [DeliveryEntry(**row._mapping) for row in rows]
