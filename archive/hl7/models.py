"""Tables of the log of HL7 messages, which is also the queue both ways."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now

_INCOMING = text("direction = 'in'")
_OPEN = text("state IN ('received', 'waiting')")
_TROUBLED = text("state IN ('refused', 'set_aside')")


class HL7Message(Base):
    """One message that came or is to go. What it says is sealed; the other columns have nothing of a patient."""

    __tablename__ = "hl7_message"
    __table_args__ = (
        CheckConstraint("direction IN ('in', 'out')", name="direction"),
        CheckConstraint("state IN ('received', 'done', 'refused', 'waiting', 'sent', 'set_aside')", name="state"),
        # The same message sent again is the same row, whichever process takes it.
        Index("uq_hl7_message_incoming", "peer", "control_id", "digest", unique=True, postgresql_where=_INCOMING),
        Index("ix_hl7_message_open", "direction", "peer", "id", postgresql_where=_OPEN),
        Index("ix_hl7_message_troubled", "direction", "peer", "done_at", postgresql_where=_TROUBLED),
        Index(None, "peer", "id"),
        Index(None, "received_at"),
        Index("ix_hl7_message_about", "about", postgresql_using="gin"),
    )

    id: Mapped[int] = _key()
    direction: Mapped[str]
    peer: Mapped[str]
    """Name of the sender or receiver in the settings."""
    control_id: Mapped[str]
    """MSH-10."""
    message_type: Mapped[str]
    """Such as ``ORM^O01``."""
    digest: Mapped[bytes]
    """SHA-256 of the bytes."""
    size: Mapped[int] = mapped_column(Integer)
    sealed: Mapped[bytes]
    """The bytes of the message, sealed."""
    state: Mapped[str]
    """In: ``received``, then ``done`` or ``refused``. Out: ``waiting``, then ``sent`` or ``set_aside``."""
    answer: Mapped[bytes | None]
    """The acknowledgement, ours or theirs, sealed."""
    error: Mapped[str] = mapped_column(server_default="")
    """Why it was refused or did not get through; places in the message, no values."""
    note: Mapped[str] = mapped_column(server_default="")
    """What of it was left out."""
    tries: Mapped[int] = mapped_column(Integer, server_default="0")
    replays: Mapped[int] = mapped_column(Integer, server_default="0")
    address: Mapped[str] = mapped_column(server_default="")
    about: Mapped[list[str]]
    """Digests of the orders and patients that it changed: a replay does not undo what came later."""
    links: Mapped[dict[str, Any]]
    """What it changed: ``items`` (worklist), ``reports``, ``persons``; of what goes out, what it tells of."""
    received_at: Mapped[datetime] = _now()
    done_at: Mapped[datetime | None]


class HL7Peer(Base):
    """How a sender or receiver stands."""

    __tablename__ = "hl7_peer"
    __table_args__ = (CheckConstraint("direction IN ('in', 'out')", name="direction"),)

    direction: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[int | None]
    """The session of the process that sends to it now; see `archive.index_session`."""
    paused: Mapped[bool] = mapped_column(Boolean, server_default="false")
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """In a row."""
    retry_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(server_default="")
    failed_at: Mapped[datetime | None]
    last_at: Mapped[datetime | None]
    """When a message last got through."""


class HL7Order(Base):
    """A worklist item that came by HL7: what its sender calls it, and what was told about it."""

    __tablename__ = "hl7_order"
    __table_args__ = (Index("ix_hl7_order_untold", "item_id", postgresql_where=text("NOT over")),)

    item_id: Mapped[int] = mapped_column(
        ForeignKey("worklist_item.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    sender: Mapped[str]
    placer: Mapped[str]
    filler: Mapped[str]
    told: Mapped[str]
    """The status of the item that the receivers were last told of, or that the sender has given itself."""
    over: Mapped[bool] = mapped_column(Boolean, server_default="false")
    """Told that it is completed, discontinued or cancelled."""


class HL7Cursor(Base):
    """How far what is told to receivers has come."""

    __tablename__ = "hl7_cursor"

    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
