"""Tables of routes and their queues."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, Integer, SmallInteger, text
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, CText, _key, _now


class RouteCursor(Base):
    """How far the objects of the index have been held against the routes. One row; none while there are no routes."""

    __tablename__ = "route_cursor"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    position: Mapped[int]
    """All rows of ``stored_object`` up to this id have been looked at."""
    horizon: Mapped[int]
    """The last id that was given out when `holders` were noted."""
    holders: Mapped[list[str]] = mapped_column(ARRAY(CText), server_default="{}")
    """Transactions that may still commit rows up to `horizon`."""


class RouteDestination(Base):
    """A peer that objects are sent on to."""

    __tablename__ = "route_destination"

    ae_title: Mapped[str] = mapped_column(primary_key=True)
    paused: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often in a row it could not be reached or could take nothing."""
    retry_at: Mapped[datetime | None]
    """Not before this it is tried again."""
    error: Mapped[str] = mapped_column(server_default="")
    """What went wrong last."""
    failed_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]


class RouteTask(Base):
    """One object for one destination, or a notification of one study. Kept after its end as a trace.

    ``waiting`` → ``sent``; → ``failed`` after as many tries as the settings allow, until somebody retries or discards
    it; → ``skipped`` when the object is no longer shown, or was discarded by hand.
    """

    __tablename__ = "route_task"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'sent', 'failed', 'skipped')", name="state"),
        CheckConstraint("(object_id IS NULL) <> (study_id IS NULL)", name="about"),
        Unique("object_id", "destination"),
        Index("ix_route_task_study", "study_id", postgresql_where=text("study_id IS NOT NULL")),
        Index(
            "ix_route_task_waiting",
            "destination",
            "priority",
            "due_at",
            "id",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("ix_route_task_held", "holder", postgresql_where=text("holder IS NOT NULL")),
        Index("ix_route_task_failed", "destination", "id", postgresql_where=text("state = 'failed'")),
        Index("ix_route_task_ended", "destination", "ended_at", postgresql_where=text("state IN ('sent', 'skipped')")),
        Index(
            "ix_route_task_uncommitted",
            "destination",
            postgresql_where=text("state = 'sent' AND commitment AND order_id IS NULL"),
        ),
        Index(
            "ix_route_task_not_shown",
            "object_id",
            postgresql_where=text("state = 'skipped' AND error = 'the object is not shown'"),
        ),
        Index("ix_route_task_order", "order_id", postgresql_where=text("order_id IS NOT NULL")),
    )

    id: Mapped[int] = _key()
    destination: Mapped[str]
    object_id: Mapped[int | None] = mapped_column(ForeignKey("stored_object.id", ondelete="CASCADE"))
    study_id: Mapped[int | None] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    """Of a notification."""
    route: Mapped[str] = mapped_column(server_default="")
    """The rule that asked for it; empty if a person did."""
    priority: Mapped[int] = mapped_column(SmallInteger)
    """0 high, 1 medium, 2 low."""
    as_stored: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    commitment: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    order_id: Mapped[int | None]
    """The order of storage commitment that it is part of."""
    state: Mapped[str] = mapped_column(server_default="waiting")
    due_at: Mapped[datetime] = _now()
    holder: Mapped[int | None]
    """The advisory lock of the process that is at it: when nobody holds that lock, the process is dead."""
    batch: Mapped[int | None] = mapped_column(BigInteger)
    refusals: Mapped[int] = mapped_column(Integer, server_default="0")
    """How often it failed for a reason of its own."""
    broke_at: Mapped[datetime | None]
    """When the association last broke, or the destination had no room, with this object."""
    status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = _now()
    ended_at: Mapped[datetime | None]


class RouteGroup(Base):
    """A series or study of which objects came, until no more come for some time."""

    __tablename__ = "route_group"
    __table_args__ = (
        CheckConstraint("what IN ('series', 'study', 'availability')", name="what"),
        Unique("destination", "route", "what", "parent_id"),
        Index(None, "due_at"),
    )

    id: Mapped[int] = _key()
    destination: Mapped[str]
    route: Mapped[str]
    what: Mapped[str]
    parent_id: Mapped[int]
    """Of the series or study. No foreign key: of one that is gone, there is nothing to send."""
    due_at: Mapped[datetime]
