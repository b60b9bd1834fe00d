"""An archive whose figures are kept when a test says so, and short ways to change what they are about."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from archive.audit.events import Action, AuditEvent
from archive.core import Archive
from archive.feed.record import begin as begin_feed
from archive.feed.record import record
from archive.figures.fact import Fact
from archive.figures.keep import begin, rebuild, step
from archive.figures.question import Answer, Measure, Question
from archive.figures.sums import wrong
from archive.index_session import IndexSession
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.records import Source
from tests.factories import ct_image, encode, store, store_bytes
from tests.integration.archive.support import sql

NEAR, FAR = "86001", "86002"
SOURCES = {
    code: Source(facility=code, issuer_of_patient_id=code, transport="import", calling_ae_title=title)
    for code, title in ((NEAR, "CT1"), (FAR, "US2"))
}
YEAR: dict[str, Any] = {"since": datetime(2026, 1, 1), "until": datetime(2027, 1, 1)}
LONG_AFTER = datetime(2030, 1, 1, tzinfo=UTC)
"""When everything can be said."""


class Kept:
    """Figures that are brought up to date by `keep`."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.session = IndexSession(archive.settings.database, "test figures")
        begin_feed(self.session)
        begin(self.session)

    def close(self) -> None:
        self.session.close()

    def keep(self, now: datetime | None = None) -> None:
        """Until nothing is left to do, with studies complete at once."""
        self.record()
        while step(self.session, self.archive.settings.figures, now).behind:
            pass

    def record(self) -> None:
        """Have the feed tell of all that was stored, with studies complete at once."""
        settings = self.archive.settings
        while record(self.session, settings.feed).behind:
            pass
        sql(self.archive, "UPDATE change_gathering SET due_at = now() - interval '1 hour'")
        while record(self.session, settings.feed).behind:
            pass

    def from_scratch(self, now: datetime | None = None) -> None:
        """Forget all facts and sums, then make them anew."""
        sql(self.archive, "TRUNCATE study_fact, study_sum, study_spread, study_person")
        sql(self.archive, "UPDATE study_look SET counted = false, avoided = false")
        rebuild(self.session)
        self.keep(now)

    def ask(self, *measures: Measure, **question: Any) -> Answer:
        return self.archive.figures.ask(Question(measures, **{**YEAR, **question}))

    def one(self, measure: Measure, **question: Any) -> Any:
        rows = self.ask(measure, **question).rows
        return rows[0][0] if rows else 0

    def wrong(self) -> int:
        return self.session.run(wrong)

    def tables(self) -> dict[str, list[Any]]:
        """All that is kept."""
        looks = "SELECT study_id, facility_id, looked_at, avoided, counted FROM study_look ORDER BY 1, 2, 3, segment_id, sequence"
        return {
            "facts": sql(self.archive, f"SELECT {', '.join(Fact._fields)} FROM study_fact ORDER BY study_id"),
            "sums": sql(self.archive, "SELECT * FROM study_sum ORDER BY 1, 2, 3, 4, 5, 6, 7, 8"),
            "spreads": sql(self.archive, "SELECT * FROM study_spread ORDER BY 1, 2, 3, 4, 5"),
            "persons": sql(self.archive, "SELECT * FROM study_person ORDER BY 1, 2, 3, 4, 5"),
            "looks": sql(self.archive, looks),
        }

    # -- what happens ------------------------------------------------------------------------------------------------

    def store(self, facility: str = NEAR, **attributes: Any) -> str:
        """An image of a study of its own; give the UID of the study."""
        image = ct_image(**attributes)
        store(self.archive, image, SOURCES[facility])
        return str(image.StudyInstanceUID)

    def store_with_wrong_text(self, **attributes: Any) -> str:
        """One whose text is not in the character set that it names."""
        image = ct_image(**attributes)
        data = encode(image).replace(b"ISO_IR 192", b"ISO_IR 6  ")
        store_bytes(self.archive, data, image.SOPClassUID, image.SOPInstanceUID, source=SOURCES[NEAR])
        return str(image.StudyInstanceUID)

    def arrived(self, study: str, moment: str) -> None:
        """Say when the images of a study came."""
        sql(
            self.archive,
            "UPDATE stored_object SET received_at = %s FROM instance, series, study WHERE instance_id = instance.id"
            " AND series_id = series.id AND series.study_id = study.id AND study_instance_uid = %s",
            moment,
            study,
        )
        self.touch(study)

    def touch(self, study: str) -> None:
        sql(
            self.archive,
            "INSERT INTO figure_dirty (what, key) SELECT 'study', id FROM study WHERE study_instance_uid = %s",
            study,
        )

    def report(self, study: str, final_at: str | None, facility: str = NEAR, status: str = "final") -> None:
        sql(
            self.archive,
            "INSERT INTO report (number, study_id, facility_id, status, final_at) SELECT %s, study.id, facility.id, %s, %s"
            " FROM study, facility WHERE study_instance_uid = %s AND code = %s",
            *(uuid.uuid4().hex, status, final_at, study, facility),
        )

    def deliver(self, study: str, mode: str) -> None:
        sql(
            self.archive,
            "INSERT INTO delivery (study_id, mode, delivered_by) SELECT id, %s, 'x' FROM study WHERE study_instance_uid = %s",
            *(mode, study),
        )

    def look(self, study: str, facility: str = FAR, action: Action = Action.VIEW) -> None:
        caller = Caller(Kind.ACCOUNT, f"bs.{facility}", {Right.VIEW: frozenset({facility})})
        self.archive.audit.record(AuditEvent(action, caller, studies=(study,), detail={"what": "images"}))

    def link(self, *patients: str, person: str = "") -> None:
        """Have patients with these numbers be one person."""
        sql(
            self.archive,
            "WITH one AS (INSERT INTO person (name, name_fold) VALUES (%s, '') RETURNING id)"
            " INSERT INTO patient_person (patient_id, person_id, how)"
            " SELECT patient.id, one.id, 'manual' FROM patient, one WHERE patient_id = ANY(%s)"
            " ON CONFLICT (patient_id) DO UPDATE SET person_id = EXCLUDED.person_id",
            *(person, list(patients)),
        )
