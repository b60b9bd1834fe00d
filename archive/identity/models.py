"""Tables of persons, and of which rows of ``patient`` are the same person.

Others read `PatientPerson` and `Person`. Behind them is `IdentityRecord`: each number that a hospital knows somebody
by, whether images of them have come or only messages. Decisions hold for records, so they outlast a row of ``patient``
that goes and comes again.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, Float, ForeignKey, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now

HOW = ("identifier", "own", "review", "hl7", "manual")


def _how() -> CheckConstraint:
    return CheckConstraint(f"how IN ({', '.join(repr(how) for how in HOW)})", name="how")


class Person(Base):
    """A human being, as far as the archive can tell; any number of rows of ``patient`` are theirs.

    What stands here is repeated from their records, the most trusted first.
    """

    __tablename__ = "person"
    __table_args__ = (
        CheckConstraint("kind IN ('known', 'newborn', 'unknown')", name="kind"),
        Index(None, "citizen_id", postgresql_where=text("citizen_id <> ''")),
        Index(None, "name_fold", "id"),
    )

    id: Mapped[int] = _key()
    kind: Mapped[str] = mapped_column(server_default="known")
    """``newborn`` and ``unknown`` have a temporary number until it is known who they are."""
    citizen_id: Mapped[str] = mapped_column(server_default="")
    """Số định danh cá nhân, 12 digits; empty if not known, or if it contradicts sex or birth year."""
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
    __table_args__ = (_how(), Index(None, "person_id"))

    patient_id: Mapped[int] = mapped_column(
        ForeignKey("patient.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    how: Mapped[str]
    """``identifier``: by a strong identifier. ``own``: nobody else is like them. The rest were decided by somebody."""
    score: Mapped[float | None] = mapped_column(Float)
    linked_by: Mapped[str] = mapped_column(server_default="")
    linked_at: Mapped[datetime] = _now()


class IdentityRecord(Base):
    """Somebody as one issuer of numbers knows them: what is compared, and to whom it belongs."""

    __tablename__ = "identity_record"
    __table_args__ = (
        UniqueConstraint("issuer", "identity"),
        Index(None, "patient_id", unique=True, postgresql_where=text("patient_id IS NOT NULL")),
        Index(None, "person_id"),
        # Who might be the same: one of these is equal. See `archive.identity.sql.ALIKE`.
        Index(None, "name_key", "birth_year", postgresql_where=text("name_key <> ''")),
        Index(None, "birth_date", "given", postgresql_where=text("name_key <> ''")),
        Index(None, "phone", postgresql_where=text("phone <> ''")),
        Index("ix_identity_record_due", "id", postgresql_where=text("due")),
        _how(),
    )

    id: Mapped[int] = _key()
    issuer: Mapped[str]
    identity: Mapped[str]
    number: Mapped[str]
    """The PatientID; empty where an object had none, and `identity` was made up for it."""
    patient_id: Mapped[int | None] = mapped_column(ForeignKey("patient.id", ondelete="SET NULL"))
    """The row of ``patient``, once images have come."""
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    how: Mapped[str] = mapped_column(server_default="own")
    score: Mapped[float | None] = mapped_column(Float)
    linked_by: Mapped[str] = mapped_column(server_default="")
    linked_at: Mapped[datetime] = _now()
    name: Mapped[str] = mapped_column(server_default="")
    name_fold: Mapped[str] = mapped_column(server_default="")
    name_key: Mapped[str] = mapped_column(server_default="")
    """The words of the name without accents, sorted; empty for what is no name."""
    given: Mapped[str] = mapped_column(server_default="")
    birth_date: Mapped[date | None]
    birth_year: Mapped[int | None] = mapped_column(Integer)
    sex: Mapped[str] = mapped_column(server_default="")
    phone: Mapped[str] = mapped_column(server_default="")
    seen: Mapped[int] = mapped_column(server_default="0")
    """The transaction that last wrote the row of ``patient``, as it was read for this."""
    due: Mapped[bool] = mapped_column(Boolean, server_default="true")
    """It changed, and is to be compared with the others."""
    updated_at: Mapped[datetime] = _now()


class IdentityIdentifier(Base):
    """A number of a record."""

    __tablename__ = "identity_identifier"
    __table_args__ = (Index(None, "value", "kind"),)

    record_id: Mapped[int] = mapped_column(ForeignKey("identity_record.id"), primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(primary_key=True)
    issuer: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(server_default="")


class IdentityClaim(Base):
    """What somebody other than images has said about a record: HL7, FHIR, the worklist, or a person by hand."""

    __tablename__ = "identity_claim"
    __table_args__ = (CheckConstraint("source IN ('manual', 'hl7', 'fhir', 'worklist')", name="source"),)

    record_id: Mapped[int] = mapped_column(ForeignKey("identity_record.id"), primary_key=True, autoincrement=False)
    source: Mapped[str] = mapped_column(primary_key=True)
    facts: Mapped[dict[str, Any]]
    """As `archive.identity.records.Facts` writes it."""
    said_by: Mapped[str]
    said_at: Mapped[datetime] = _now()


class IdentityName(Base):
    """How many records have a name."""

    __tablename__ = "identity_name"

    name_key: Mapped[str] = mapped_column(primary_key=True)
    records: Mapped[int] = mapped_column(Integer)


class IdentityApart(Base):
    """Two records that are not the same person, because somebody said so. The lower id comes first."""

    __tablename__ = "identity_apart"
    __table_args__ = (Index(None, "other_id"), CheckConstraint("record_id < other_id", name="once"))

    record_id: Mapped[int] = mapped_column(ForeignKey("identity_record.id"), primary_key=True, autoincrement=False)
    other_id: Mapped[int] = mapped_column(ForeignKey("identity_record.id"), primary_key=True, autoincrement=False)
    event_id: Mapped[int] = mapped_column(ForeignKey("identity_event.id"))


class IdentityCandidate(Base):
    """Two records that may be the same person, for somebody to decide; open while their persons differ."""

    __tablename__ = "identity_candidate"
    __table_args__ = (
        Index(None, "other_id"),
        Index("ix_identity_candidate_best", text("conflict DESC"), text("likelihood DESC"), "record_id"),
        CheckConstraint("record_id < other_id", name="once"),
    )

    record_id: Mapped[int] = mapped_column(ForeignKey("identity_record.id"), primary_key=True, autoincrement=False)
    other_id: Mapped[int] = mapped_column(ForeignKey("identity_record.id"), primary_key=True, autoincrement=False)
    likelihood: Mapped[float] = mapped_column(Float)
    """Bits over even odds."""
    conflict: Mapped[bool] = mapped_column(Boolean)
    """They share a strong number, yet contradict each other."""
    evidence: Mapped[dict[str, Any]]
    """By field: how it compares, and the bits that this tells."""
    found_at: Mapped[datetime] = _now()


class IdentityEvent(Base):
    """What was done to persons: by whom, when, why, and what it was before. Rows are only ever added."""

    __tablename__ = "identity_event"
    __table_args__ = (
        CheckConstraint(
            "action IN ('link', 'split', 'merge', 'separate', 'apart', 'move', 'temporary', 'undo')", name="action"
        ),
        Index(None, "person_id", "id"),
        Index(None, "other_person_id", "id", postgresql_where=text("other_person_id IS NOT NULL")),
        Index(None, "undoes", unique=True, postgresql_where=text("undoes IS NOT NULL")),
        UniqueConstraint("ticket"),
    )

    id: Mapped[int] = _key()
    at: Mapped[datetime] = _now()
    action: Mapped[str]
    person_id: Mapped[int] = mapped_column(ForeignKey("person.id"))
    other_person_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    caller_kind: Mapped[str]
    caller: Mapped[str]
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"))
    reason: Mapped[str] = mapped_column(server_default="")
    detail: Mapped[dict[str, Any]]
    """Each record that moved, and each person that changed: as it was, and as it became."""
    undoes: Mapped[int | None] = mapped_column(ForeignKey("identity_event.id"))
    ticket: Mapped[str]
    """Makes it one act however often it is written."""


class IdentityCursor(Base):
    """How far new objects were looked at for their patients; see `archive.follow`."""

    __tablename__ = "identity_cursor"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    position: Mapped[int]
    horizon: Mapped[int]
    holders: Mapped[list[str]] = mapped_column(server_default="{}")
    swept_at: Mapped[datetime | None]
    """When all patients were last looked through for changes that came without an object."""


class CareDue(Base):
    """Patients whose persons changed: who may see them while treating them is to be worked out again."""

    __tablename__ = "care_due"

    patient_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
