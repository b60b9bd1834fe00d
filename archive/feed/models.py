"""Tables of the change feed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, Integer, SmallInteger, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, CText, _key, _now


class FeedCursor(Base):
    """How far the feed has come. One row; none while there is no feed. Who writes to the feed holds its lock."""

    __tablename__ = "feed_cursor"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    position: Mapped[int]
    """All rows of ``stored_object`` up to this id are in the feed; see `archive.follow`."""
    horizon: Mapped[int]
    holders: Mapped[list[str]] = mapped_column(ARRAY(CText), server_default="{}")
    last: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """The last sequence number that was given to a change."""
    forgotten: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """The last sequence number whose change was deleted because of its age."""


class Change(Base):
    """One change. Numbers are without gaps, and whoever sees a number sees all that are lower."""

    __tablename__ = "change"
    __table_args__ = (
        CheckConstraint("kind IN ('stored', 'replaced', 'visibility', 'corrected', 'complete')", name="kind"),
    )

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str]
    """``visibility`` is told as hidden, as shown or not at all: that depends on the view."""
    at: Mapped[datetime] = _now()
    """When it came into the feed."""
    facility_id: Mapped[int]
    """The owner of the study."""
    study_id: Mapped[int]
    instance_id: Mapped[int | None]
    """Of a change of an instance; without foreign keys, for the feed outlives what it tells of."""
    study_instance_uid: Mapped[str]
    series_instance_uid: Mapped[str | None]
    sop_instance_uid: Mapped[str | None]
    sop_class_uid: Mapped[str | None]
    before: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Causes for which it was hidden (`archive.rejection.causes.Hidden`)."""
    after: Mapped[int] = mapped_column(SmallInteger, server_default="0")


class ChangePending(Base):
    """A change of something that was there already, until it has its number. Added by who makes the change."""

    __tablename__ = "change_pending"
    __table_args__ = (CheckConstraint("kind IN ('visibility', 'corrected')", name="kind"),)

    id: Mapped[int] = _key()
    kind: Mapped[str]
    instance_id: Mapped[int]
    object_id: Mapped[int]
    """The version that it is about: first comes the change that told of it."""
    before: Mapped[int | None] = mapped_column(SmallInteger)
    after: Mapped[int | None] = mapped_column(SmallInteger)


class ChangeGathering(Base):
    """A study of which objects came, until no more come for some time."""

    __tablename__ = "change_gathering"
    __table_args__ = (Index(None, "due_at"),)

    study_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    due_at: Mapped[datetime]


class WebhookCursor(Base):
    """How far a webhook has come."""

    __tablename__ = "webhook_cursor"

    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    """The receiver has taken all changes up to this number."""
    until: Mapped[int | None]
    """Up to here goes the batch that was tried last: another try sends the same."""
    paused: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    holder: Mapped[int | None]
    """The advisory lock of the process that delivers: when nobody holds that lock, the process is dead."""
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often in a row the receiver did not take a batch."""
    retry_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(server_default="")
    failed_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    lost: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Changes that were deleted because of their age before the receiver took them."""
