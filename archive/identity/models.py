"""Tables of persons, and of which rows of ``patient`` are the same person."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Float, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now


class Person(Base):
    """A human being, as far as the archive can tell; any number of rows of ``patient`` are theirs."""

    __tablename__ = "person"
    __table_args__ = (
        CheckConstraint("kind IN ('known', 'newborn', 'unknown')", name="kind"),
        Index("uq_person_citizen_id", "citizen_id", unique=True, postgresql_where=text("citizen_id <> ''")),
        Index(None, "name_fold", "id"),
    )

    id: Mapped[int] = _key()
    kind: Mapped[str] = mapped_column(server_default="known")
    """``newborn`` and ``unknown`` have a temporary number until it is known who they are."""
    citizen_id: Mapped[str] = mapped_column(server_default="")
    """Số định danh cá nhân, 12 digits; empty if not known."""
    name: Mapped[str]
    name_fold: Mapped[str]
    birth_date: Mapped[date | None]
    sex: Mapped[str] = mapped_column(server_default="")
    merged_into: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    """Set when two turned out to be one. The row stays, so that it can be undone."""
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class PatientPerson(Base):
    """Whose a row of ``patient`` is. What has no row here is a person of its own, not yet looked at."""

    __tablename__ = "patient_person"
    __table_args__ = (
        CheckConstraint("how IN ('identifier', 'own', 'review', 'hl7', 'manual')", name="how"),
        Index(None, "person_id"),
    )

    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"), primary_key=True, autoincrement=False)
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    how: Mapped[str]
    """``identifier``: by a strong identifier. ``own``: nobody else is like them. The rest were decided by somebody."""
    score: Mapped[float | None] = mapped_column(Float)
    linked_by: Mapped[str] = mapped_column(server_default="")
    linked_at: Mapped[datetime] = _now()
