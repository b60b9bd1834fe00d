"""The tables of the index (PostgreSQL), by SQLAlchemy 2.

A row of ``stored_object`` is written only for bytes that are durable in the store; a key without a row belongs to
its ``key_block``, see `archive.keys`. Text columns that are searched by prefix use the C collation, so that
``LIKE 'abc%'`` can use their index whatever the database's locale is.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import MetaData
from sqlalchemy.types import Date, Time

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
CText = Text(collation="C")
Timestamp = TIMESTAMP(timezone=True)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads it from the class
        str: CText,
        int: BigInteger,
        bytes: LargeBinary,
        date: Date,
        time: Time,
        datetime: Timestamp,
        dict[str, Any]: JSONB,
        list[str]: ARRAY(CText),
    }


def _key() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(always=True), primary_key=True)


def _now() -> Mapped[datetime]:
    return mapped_column(Timestamp, server_default=text("clock_timestamp()"))


class Facility(Base):
    """A hospital or commune station that sends images."""

    __tablename__ = "facility"

    id: Mapped[int] = _key()
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    district: Mapped[str] = mapped_column(server_default="")
    care_level: Mapped[str] = mapped_column(server_default="")
    """``specialised``, ``basic`` or ``primary`` (chuyên sâu, cơ bản, ban đầu); empty if not known."""


class Patient(Base):
    """A patient as one issuer of patient IDs knows them (PS3.3 C.7.1.1).

    `identity` is the PatientID, or is made from the study when the object has none, so that two people without an
    ID never become one.
    """

    __tablename__ = "patient"
    __table_args__ = (
        UniqueConstraint("issuer", "identity"),
        Index(None, "patient_id", "id"),
        Index(None, "name_fold", "id"),
        Index(None, "birth_date"),
        # Words of names, by which `archive.name_conditions` finds what begins any part of one.
        Index(
            "ix_patient_name_words",
            text("array_to_tsvector(array_remove(string_to_array(replace(name_fold, '=', ' '), ' '), ''))"),
            postgresql_using="gin",
        ),
    )

    id: Mapped[int] = _key()
    issuer: Mapped[str]
    identity: Mapped[str]
    patient_id: Mapped[str]
    name: Mapped[str]
    name_fold: Mapped[str]
    """Name without accents and case, for search: ``NGUYEN VAN AN``."""
    birth_date: Mapped[date | None]
    sex: Mapped[str]
    attributes: Mapped[dict[str, Any]]
    """The patient attributes as first received, in the DICOM JSON model."""
    created_at: Mapped[datetime] = _now()


class Study(Base):
    """A study. Counters are kept by the transaction that adds an instance, never counted at query time.

    They count what the clinical view shows; `hidden_count` counts the rest (see `archive.rejection`).
    """

    __tablename__ = "study"
    __table_args__ = (
        # The order of the study list: newest first, undated last.
        Index(
            "ix_study_newest",
            text("study_date DESC NULLS LAST"),
            text("study_time DESC NULLS LAST"),
            text("id DESC"),
        ),
        # Studies of the patients that a search names, within a range of dates.
        Index(None, "patient_id", "study_date"),
        Index(None, "accession_number", "id"),
        Index(None, "facility_id", "study_date"),
        # Whose patients are whose: what row security asks for each patient, answered from the index alone.
        Index(None, "facility_id", "patient_id"),
        UniqueConstraint("study_instance_uid", "quarantine"),
        Index("ix_study_quarantine", "quarantine", postgresql_where=text("quarantine <> ''")),
    )

    id: Mapped[int] = _key()
    study_instance_uid: Mapped[str]
    quarantine: Mapped[str] = mapped_column(server_default="")
    """Empty; or the unlisted sender (``AE@address``) whose objects are kept apart here until they are released."""
    patient_id: Mapped[int] = mapped_column(ForeignKey("patient.id"))
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    """The facility that sent the first object; it owns the study."""
    study_date: Mapped[date | None]
    study_time: Mapped[time | None]
    accession_number: Mapped[str]
    study_id: Mapped[str]
    study_description: Mapped[str]
    referring_physician_fold: Mapped[str]
    attributes: Mapped[dict[str, Any]]
    modalities_in_study: Mapped[list[str]] = mapped_column(server_default="{}")
    sop_classes_in_study: Mapped[list[str]] = mapped_column(server_default="{}")
    series_count: Mapped[int] = mapped_column(Integer, server_default="0")
    instance_count: Mapped[int] = mapped_column(Integer, server_default="0")
    byte_count: Mapped[int] = mapped_column(server_default="0")
    """Bytes of the shown versions."""
    hidden_count: Mapped[int] = mapped_column(Integer, server_default="0")
    rejection_epoch: Mapped[int] = mapped_column(server_default="0")
    """Grows with each change of what is rejected here; see `archive.index_writer`."""
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class Series(Base):
    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("study_id", "series_instance_uid"), Index(None, "series_instance_uid"))

    id: Mapped[int] = _key()
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    series_instance_uid: Mapped[str]
    modality: Mapped[str]
    series_number: Mapped[int | None]
    series_description: Mapped[str]
    body_part_examined: Mapped[str]
    performed_date: Mapped[date | None]
    performed_time: Mapped[time | None]
    attributes: Mapped[dict[str, Any]]
    instance_count: Mapped[int] = mapped_column(Integer, server_default="0")
    hidden_count: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = _now()


class Instance(Base):
    """A SOP instance in its series.

    PS3.5 9 makes the SOP Instance UID unique in the world. Copies under another study or series UID exist all the
    same (studies split or merged by a gateway); each is kept and found where its sender put it.
    """

    __tablename__ = "instance"
    __table_args__ = (
        UniqueConstraint("series_id", "sop_instance_uid"),
        Index(None, "sop_instance_uid"),
        Index("ix_instance_hidden", "series_id", postgresql_where=text("hidden <> 0")),
    )

    id: Mapped[int] = _key()
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"))
    sop_instance_uid: Mapped[str]
    sop_class_uid: Mapped[str]
    instance_number: Mapped[int | None]
    rows: Mapped[int | None] = mapped_column(Integer)
    columns: Mapped[int | None] = mapped_column(Integer)
    bits_allocated: Mapped[int | None] = mapped_column(Integer)
    number_of_frames: Mapped[int] = mapped_column(Integer)
    hidden: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """0, or the sum of the causes why it is not shown: `archive.rejection.causes.Hidden`."""
    attributes: Mapped[dict[str, Any] | None]
    """What a document says of itself (`archive.attributes.OF_DOCUMENTS`); nothing for most images."""
    created_at: Mapped[datetime] = _now()


class StoredObject(Base):
    """The bytes of one version of an instance, durable in the store under `key`."""

    __tablename__ = "stored_object"
    __table_args__ = (
        UniqueConstraint("instance_id", "version"),
        UniqueConstraint("key"),
        Index(
            "uq_stored_object_current",
            "instance_id",
            unique=True,
            postgresql_where=text("current"),
        ),
        CheckConstraint("state IN ('available', 'missing', 'corrupt')", name="state"),
    )

    id: Mapped[int] = _key()
    instance_id: Mapped[int] = mapped_column(ForeignKey("instance.id"))
    version: Mapped[int] = mapped_column(Integer)
    current: Mapped[bool] = mapped_column(Boolean)
    """Whether this version is the one that is shown; exactly one of an instance is."""
    state: Mapped[str] = mapped_column(server_default="available")
    """``available``; ``missing`` or ``corrupt`` when a check of the store found so."""
    key: Mapped[str]
    size: Mapped[int]
    digest: Mapped[bytes]
    transfer_syntax_uid: Mapped[str]
    dataset_offset: Mapped[int] = mapped_column(Integer)
    header_length: Mapped[int]
    trailer_offset: Mapped[int | None]
    frame_table: Mapped[bytes | None]
    corrections: Mapped[dict[str, Any] | None]
    """What is to be given otherwise than it is stored, see `archive.correction.record`; null for most objects."""
    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"))
    transport: Mapped[str]
    calling_ae_title: Mapped[str]
    address: Mapped[str]
    user_name: Mapped[str] = mapped_column(server_default="")
    """Who used the sender, as far as that was proved; the audit trail tells it."""
    warnings: Mapped[list[str] | None]
    received_at: Mapped[datetime]


class KeyBlock(Base):
    """A run of object keys handed to one writer process, durable before the first byte under any of them.

    ``receiving`` in the life of an object means: its key lies in an open block and has no row in ``stored_object``.
    A row is added to ``stored_object`` only while the block is open, in the same statement. So once a block is
    ``settling``, no more of its keys can become available, and those without a row may be deleted: `archive.keys`
    does that when a writer is done with a block, `archive.reconcile` when the writer died.
    """

    __tablename__ = "key_block"
    __table_args__ = (CheckConstraint("state IN ('open', 'settling')", name="state"),)

    id: Mapped[int] = _key()
    prefix: Mapped[str] = mapped_column(unique=True)
    size: Mapped[int] = mapped_column(Integer)
    writer: Mapped[int]
    """The advisory lock that the writer process holds while it lives."""
    state: Mapped[str] = mapped_column(server_default="open")
    reserved_at: Mapped[datetime] = _now()
