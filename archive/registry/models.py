"""Tables of the peers that were added by page or command, and of the connection tests that were asked for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, Index, Integer, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from archive.models import Base, _key, _now


class RegisteredPeer(Base):
    """A peer beside those of ``pacs.toml``. Where both have its AE title, the file's holds."""

    __tablename__ = "peer"

    id: Mapped[int] = _key()
    ae_title: Mapped[str] = mapped_column(unique=True)
    settings: Mapped[dict[str, Any]]
    """What of `config.peers.Peer` is otherwise than by default, without the AE title."""
    enabled: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    revision: Mapped[int] = mapped_column(server_default=text("1"))
    """Counts changes; whoever changes it names the one that they have seen."""
    created_at: Mapped[datetime] = _now()
    created_by: Mapped[str]
    changed_at: Mapped[datetime] = _now()
    changed_by: Mapped[str]


class PeerEpoch(Base):
    """One row, which a trigger counts up with every change of ``peer``: so processes see that they must read it."""

    __tablename__ = "peer_epoch"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(server_default=text("0"))


class PeerTest(Base):
    """A C-ECHO to a peer that somebody asked for. A DICOM node does it, whichever comes first."""

    __tablename__ = "peer_test"
    __table_args__ = (
        Index("ix_peer_test_open", "id", postgresql_where=text("done_at IS NULL")),
        Index(None, "asked_at"),
    )

    id: Mapped[int] = _key()
    ae_title: Mapped[str]
    asked_at: Mapped[datetime] = _now()
    asked_by: Mapped[str]
    leased_until: Mapped[datetime | None]
    """Until then the process that took it has it for itself."""
    done_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(server_default="")
    """See `archive.registry.checks.Outcome`."""
    detail: Mapped[str] = mapped_column(server_default="")
    milliseconds: Mapped[int | None] = mapped_column(Integer)
