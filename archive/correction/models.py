"""Tables of corrections. Those in force are in ``stored_object.corrections``, in the row that they are about."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now


class FormerCorrections(Base):
    """What was corrected of an object until its rules changed. Nothing is ever removed here."""

    __tablename__ = "former_corrections"
    __table_args__ = (Index(None, "object_id"),)

    id: Mapped[int] = _key()
    object_id: Mapped[int] = mapped_column(ForeignKey("stored_object.id", ondelete="CASCADE"))
    corrections: Mapped[dict[str, Any] | None]
    """As they were in the row; null for none."""
    until: Mapped[datetime] = _now()


class CorrectionRun(Base):
    """How far a run through all studies has come, so that one that was broken off goes on where it was."""

    __tablename__ = "correction_run"

    peer: Mapped[str] = mapped_column(primary_key=True)
    """The AE title whose objects it is about, ``""`` for all."""
    settings: Mapped[str]
    """Tells whether the settings are still the ones that the run began with."""
    study_id: Mapped[int]
    """All studies up to this one are done."""
    changed: Mapped[int]
    """Objects whose corrections changed so far."""
    started_at: Mapped[datetime] = _now()
    finished_at: Mapped[datetime | None]
