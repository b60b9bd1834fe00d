"""What an operator does about corrections: looks at them, makes them anew, gets objects as they were received."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine, select

from archive.correction.models import FormerCorrections
from archive.correction.reapply import Reapplied, Reapply
from archive.correction.record import Corrections
from archive.correction.rules import Worklist
from archive.database import fetch
from archive.errors import NotFound
from archive.index_session import IndexSession
from archive.locate import by_object
from archive.models import Instance, Series, StoredObject, Study
from archive.records import StoredInstance
from config.peers import PeerBook
from storage.base import ObjectStore


class Correcting:
    """Part of the opened archive."""

    def __init__(
        self, engine: Engine, session: IndexSession, store: ObjectStore, peers: PeerBook, worklist: Worklist
    ) -> None:
        self._engine = engine
        self._reapply = Reapply(engine, session, store, peers, worklist)

    def reapply(
        self,
        *,
        peer: str = "",
        study: str = "",
        progress: Callable[[Reapplied], None] = lambda _: None,
        complain: Callable[[str], None] = lambda _: None,
    ) -> Reapplied:
        """Correct stored objects anew; see `archive.correction.reapply`. Raises `NotFound`, `IndexUnavailable`."""
        return self._reapply.run(peer=peer, study=study, progress=progress, complain=complain)

    def former(self, study: str) -> list[tuple[str, datetime, Corrections | None]]:
        """What was corrected before in a study: SOP Instance UID, until when, what. Oldest first."""
        statement = (
            select(Instance.sop_instance_uid, FormerCorrections.until, FormerCorrections.corrections)
            .join(StoredObject, StoredObject.id == FormerCorrections.object_id)
            .join(Instance, Instance.id == StoredObject.instance_id)
            .join(Series, Series.id == Instance.series_id)
            .join(Study, Study.id == Series.study_id)
            .where(Study.study_instance_uid == study)
            .order_by(FormerCorrections.id)
        )
        rows = (tuple(row) for row in fetch(self._engine, statement))
        return [(row[0], row[1], None if row[2] is None else Corrections.from_json(row[2])) for row in rows]

    def version(self, sop_instance_uid: str, version: int | None = None) -> StoredInstance:
        """A version of an instance, or the one that is shown. Raises `NotFound`."""
        statement = (
            select(StoredObject.id)
            .join(Instance, Instance.id == StoredObject.instance_id)
            .where(Instance.sop_instance_uid == sop_instance_uid)
            .where(StoredObject.current if version is None else StoredObject.version == version)
            .order_by(StoredObject.id)
        )
        found = by_object(self._engine, [row[0] for row in fetch(self._engine, statement)], hidden=True)
        if not found:
            raise NotFound("no such instance" if version is None else f"the instance has no version {version}")
        return found[min(found)]
