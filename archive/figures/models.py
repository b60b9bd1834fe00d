"""Tables of figures: a fact for each study, looks at studies from elsewhere, and sums that are kept.

All times without a zone are those of the hospitals' clocks. Whatever stands here can be made anew from the rest of the
index, but for `StudyFact.ordered_at` of orders that were deleted because of their age.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now

Local = TIMESTAMP(timezone=False)


class StudyFact(Base):
    """What is counted of a study that the clinical view shows. No foreign keys: it may outlive the study a little."""

    __tablename__ = "study_fact"
    __table_args__ = (
        # Ranges of time are read from the index alone.
        Index(
            "ix_study_fact_studied_at",
            "studied_at",
            postgresql_include=["facility_id", "modality", "person_id", "body_part", "sex", "age_group"],
        ),
        Index(None, "person_id", "studied_at"),
        Index(None, "patient_id"),
        Index(None, "facility_id", "last_image_at"),
        Index(None, "first_image_at"),
        Index(None, "final_at", postgresql_where=text("final_at IS NOT NULL")),
        Index("ix_study_fact_unread", "first_image_at", "facility_id", postgresql_where=text("final_at IS NULL")),
    )

    study_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    facility_id: Mapped[int]
    person_id: Mapped[int]
    """A row of ``person``; or the row of ``patient`` with a minus, where nobody has looked yet who that is."""
    patient_id: Mapped[int]
    patient_stamp: Mapped[int]
    """Digest of what the patient's row said, to notice that it says something else."""
    modality: Mapped[str]
    body_part: Mapped[str]
    sex: Mapped[str]
    age_group: Mapped[str]
    studied_at: Mapped[datetime] = mapped_column(Local)
    """When it was done; when its first image came if that is not known or cannot be."""
    ordered_at: Mapped[datetime | None]
    first_image_at: Mapped[datetime]
    last_image_at: Mapped[datetime]
    final_at: Mapped[datetime | None]
    order_to_images: Mapped[int | None] = mapped_column(SmallInteger)
    """Buckets of durations, see `archive.figures.spread`."""
    images_to_report: Mapped[int | None] = mapped_column(SmallInteger)
    order_to_report: Mapped[int | None] = mapped_column(SmallInteger)
    instances: Mapped[int] = mapped_column(Integer)
    bytes: Mapped[int]
    reported: Mapped[bool] = mapped_column(Boolean)
    tele_read: Mapped[bool] = mapped_column(Boolean)
    delivered: Mapped[bool] = mapped_column(Boolean)
    filmless: Mapped[bool] = mapped_column(Boolean)
    duplicate: Mapped[bool] = mapped_column(Boolean)
    data_right: Mapped[bool] = mapped_column(Boolean)
    data_whole: Mapped[bool] = mapped_column(Boolean)
    data_clean: Mapped[bool] = mapped_column(Boolean)
    data_alive: Mapped[bool] = mapped_column(Boolean)


class StudyLook(Base):
    """A look at a study by somebody of another facility than its owner, as the audit trail has it."""

    __tablename__ = "study_look"
    __table_args__ = (Index(None, "study_id"), Index(None, "looked_at"))

    segment_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    facility_id: Mapped[int]
    """Who looked."""
    looked_at: Mapped[datetime] = mapped_column(Local)
    avoided: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """No examination of the same kind followed at the facility that looked."""
    counted: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """Whether it is in the sums, as far as its study is."""


def _counter() -> Mapped[int]:
    return mapped_column(BigInteger, server_default="0")


class StudySum(Base):
    """Sums over facts and looks. What a cube does not tell apart is empty, or -1 for `clock`."""

    __tablename__ = "study_sum"
    __table_args__ = (CheckConstraint("cube BETWEEN 1 AND 4", name="cube"),)

    cube: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """`archive.figures.sums.Cube`."""
    day: Mapped[date] = mapped_column(primary_key=True)
    """The day; the first of the month in cubes of months."""
    facility_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    modality: Mapped[str] = mapped_column(primary_key=True)
    body_part: Mapped[str] = mapped_column(primary_key=True)
    sex: Mapped[str] = mapped_column(primary_key=True)
    age_group: Mapped[str] = mapped_column(primary_key=True)
    clock: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """Hours since Monday, 00:00."""
    studies: Mapped[int] = _counter()
    instances: Mapped[int] = _counter()
    bytes: Mapped[int] = _counter()
    reported: Mapped[int] = _counter()
    tele_read: Mapped[int] = _counter()
    delivered: Mapped[int] = _counter()
    filmless: Mapped[int] = _counter()
    duplicates_found: Mapped[int] = _counter()
    data_right: Mapped[int] = _counter()
    data_whole: Mapped[int] = _counter()
    data_clean: Mapped[int] = _counter()
    data_alive: Mapped[int] = _counter()
    complete: Mapped[int] = _counter()
    cross_views: Mapped[int] = _counter()
    duplicates_avoided: Mapped[int] = _counter()


class StudySpread(Base):
    """How many studies of a month took how long."""

    __tablename__ = "study_spread"

    span: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """Which duration: `archive.figures.spread.SPANS`."""
    day: Mapped[date] = mapped_column(primary_key=True)
    """The first of the month."""
    facility_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    modality: Mapped[str] = mapped_column(primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    studies: Mapped[int] = _counter()


class StudyPerson(Base):
    """How many persons were seen in a month, by the month in which they were seen before."""

    __tablename__ = "study_person"
    __table_args__ = (
        CheckConstraint("level BETWEEN 1 AND 4", name="level"),
        # So that what was taken away is found without reading all.
        Index("ix_study_person_none", "level", postgresql_where=text("persons = 0")),
    )

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """`archive.figures.persons.Level`: what "before" looks at."""
    day: Mapped[date] = mapped_column(primary_key=True)
    """The first of the month."""
    before: Mapped[date] = mapped_column(primary_key=True)
    """The first of the last month before it; 1900-01-01 where there is none."""
    facility_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0 where facilities are not told apart."""
    modality: Mapped[str] = mapped_column(primary_key=True)
    """Empty where modalities are not told apart."""
    persons: Mapped[int] = _counter()


class FigureCursor(Base):
    """How far the figures have come. One row; none while nobody keeps any. Who keeps them holds its lock."""

    __tablename__ = "figure_cursor"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    position: Mapped[int]
    """All changes of the feed up to this number are in the figures."""
    sweep: Mapped[int | None]
    """All studies up to this one have been looked at by the sweep that is going on; null when none is."""
    swept_at: Mapped[datetime | None]
    """When a sweep last came to its end; null while the figures are not whole."""
    revision: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Goes up with each step that changes what is counted."""


class FigureDirty(Base):
    """That something changed which the feed does not tell of: added by triggers in the transaction that changes it."""

    __tablename__ = "figure_dirty"
    __table_args__ = (
        CheckConstraint("what IN ('study', 'patient', 'item')", name="what"),
        Index(None, "due_at", "id"),
    )

    id: Mapped[int] = _key()
    what: Mapped[str]
    """Whose row `key` is: a study; a patient, all of whose studies it concerns; an item of the worklist."""
    key: Mapped[int]
    noted_at: Mapped[datetime] = _now()
    due_at: Mapped[datetime] = _now()


class FigureSegment(Base):
    """How far a segment of the audit trail has been searched for looks."""

    __tablename__ = "figure_segment"

    segment_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int]


class FigureSource(Base):
    """When a device of a facility last sent something."""

    __tablename__ = "figure_source"

    facility_id: Mapped[int] = mapped_column(ForeignKey("facility.id"), primary_key=True, autoincrement=False)
    calling_ae_title: Mapped[str] = mapped_column(primary_key=True)
    received_at: Mapped[datetime]


class FigureSample(Base):
    """How long a queue was, every some minutes of the last hours: whether it grows is seen by that."""

    __tablename__ = "figure_sample"

    kind: Mapped[str] = mapped_column(primary_key=True)
    """Of which kind the queue is: `archive.figures.queues.Queue.kind`, or ``forward``."""
    name: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    """The beginning of the stretch for which it stands: processes that look in the same one add no second row."""
    waiting: Mapped[int]


class FigureListed(Base):
    """Since when the settings have a facility, device or sender: who was never heard of for long is told."""

    __tablename__ = "figure_listed"
    __table_args__ = (CheckConstraint("kind IN ('facility', 'device', 'sender')", name="kind"),)

    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]
    seen_at: Mapped[datetime]
    """When a process last had it in its settings; some days later it is forgotten."""


class FigureReport(Base):
    """A report of the whole province, as it was made. Made again, it is another one: what was given out stays."""

    __tablename__ = "figure_report"
    __table_args__ = (
        CheckConstraint("period IN ('month', 'quarter', 'year')", name="period"),
        Index(None, "begins_at", "period"),
    )

    id: Mapped[int] = _key()
    period: Mapped[str]
    begins_at: Mapped[datetime] = mapped_column(Local)
    made_at: Mapped[datetime] = _now()
    made_by: Mapped[str]
    """Sign-in name; empty where it was made by itself."""
    title: Mapped[str]
    xlsx: Mapped[bytes]
    html: Mapped[bytes]
    pdf: Mapped[bytes]


class FigurePushed(Base):
    """One request with indicators, as it is sent until it is taken; then the trace of it."""

    __tablename__ = "figure_pushed"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'taken', 'given_up')", name="state"),
        UniqueConstraint("name", "until"),
        Index("ix_figure_pushed_waiting", "name", "due_at", postgresql_where=text("state = 'waiting'")),
    )

    id: Mapped[int] = _key()
    name: Mapped[str]
    until: Mapped[datetime] = mapped_column(Local)
    """The end of the last period that it tells of."""
    body: Mapped[bytes]
    """Exactly what is sent, each time."""
    state: Mapped[str] = mapped_column(server_default="waiting")
    tries: Mapped[int] = mapped_column(Integer, server_default="0")
    status: Mapped[int | None] = mapped_column(Integer)
    """What the receiver answered last."""
    error: Mapped[str] = mapped_column(server_default="")
    made_at: Mapped[datetime] = _now()
    due_at: Mapped[datetime] = _now()
    ended_at: Mapped[datetime | None]
