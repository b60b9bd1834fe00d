"""Makes DICOM objects of signed reports, so that viewers, C-FIND and other archives have them.

Signing commits by itself and leaves a row in ``report_object``. Whoever takes the row makes the objects, stores them by
the one ingest, hides those whose place they take, and only then marks the row done; a process that dies leaves a row
that is due again, and the same version gives the same UIDs and bytes. What a newer version replaces is rejected for
quality reasons (113001), what was cancelled for reasons of patient safety (113037), by notes as for images (IOCM).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Engine, Row, text

from archive.background import Background
from archive.database import change, fetch
from archive.documents import store
from archive.errors import ArchiveError, ConflictingDuplicate
from archive.receiving import Receiving
from archive.records import DicomJSON
from archive.rejection.rejections import Rejections
from archive.reports.pdf import Copy, printed
from archive.reports.records import Entry, Version
from archive.reports.reports import Reports
from archive.reports.structured import Kind, encapsulated_pdf, structured_report, uid_of
from config.logs import fields
from config.settings import Settings

log = logging.getLogger(__name__)

INTERVAL: Final = 5.0
_LEASE: Final = 300.0
_LONGEST_PAUSE: Final = 3600.0
_BY: Final = "PACS tỉnh (tự động)"
# The versions of one report come in their order: each hides those before it.
_TAKE: Final = text("""
UPDATE report_object SET attempts = attempts + 1, due_at = clock_timestamp() + make_interval(secs => :lease)
 WHERE (report_id, version) = (
     SELECT report_id, version FROM report_object AS due
      WHERE state = 'waiting' AND due_at <= clock_timestamp()
        AND NOT EXISTS (SELECT FROM report_object AS earlier WHERE earlier.report_id = due.report_id
                           AND earlier.version < due.version AND earlier.state = 'waiting')
      ORDER BY due_at, report_id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING report_id, version, attempts
""")
_DONE: Final = text("""
UPDATE report_object SET state = 'done', error = '', done_at = clock_timestamp()
 WHERE report_id = :report AND version = :version
""")
_FAILED: Final = text("""
UPDATE report_object SET error = :error, due_at = clock_timestamp() + make_interval(secs => :pause)
 WHERE report_id = :report AND version = :version AND state = 'waiting'
""")
_WAITING: Final = text("""
SELECT report.number, waiting.version, waiting.attempts, waiting.error
  FROM report_object AS waiting JOIN report ON report.id = waiting.report_id
 WHERE waiting.state = 'waiting' ORDER BY waiting.due_at LIMIT 200
""")
_HOME: Final = text("""
SELECT patient.attributes || study.attributes AS attributes, patient.issuer, facility.code
  FROM study JOIN patient ON patient.id = study.patient_id JOIN facility ON facility.id = study.facility_id
 WHERE study_instance_uid = :study AND quarantine = ''
""")
_SHOWN: Final = text("""
SELECT sop_instance_uid FROM study JOIN series ON series.study_id = study.id
  JOIN instance ON instance.series_id = series.id
 WHERE study_instance_uid = :study AND quarantine = '' AND hidden = 0 AND sop_instance_uid = ANY(:instances)
""")


class ReportObjects:
    """Makes them."""

    def __init__(
        self,
        engine: Engine,
        reports: Reports,
        rejections: Rejections,
        begin: Callable[..., Receiving],
        settings: Settings,
    ) -> None:
        self._engine = engine
        self._reports = reports
        self._rejections = rejections
        self._begin = begin
        self._settings = settings

    def work(self) -> bool:
        """Make what is due of one version. False if nothing is. Raises `IndexUnavailable`."""
        rows = change(self._engine, _TAKE, {"lease": _LEASE})
        if not rows:
            return False
        report, version, attempts = rows[0].report_id, rows[0].version, rows[0].attempts
        given = {"report": report, "version": version}
        try:
            self._make(self._reports.by_id(report), self._reports.version(report, version))
        except ArchiveError as error:
            pause = min(_LONGEST_PAUSE, INTERVAL * 2 ** min(attempts, 20))
            change(self._engine, _FAILED, {**given, "error": str(error)[:1000], "pause": pause}, repeatable=True)
            log.warning("a signed report could not be stored as an object yet", extra=fields(error=str(error)))
        else:
            change(self._engine, _DONE, given, repeatable=True)
        return True

    def waiting(self) -> Sequence[Row[Any]]:
        """Versions whose objects are not made yet: number, version, attempts, error; at most 200."""
        return fetch(self._engine, _WAITING)

    def upkeep(self) -> Background:
        """A thread that does so; any number of processes may have one."""

        def step() -> float:
            while not worker.stopping and self.work():
                pass
            return INTERVAL

        worker = Background("report objects", step)
        self._reports.on_signed = worker.wake
        return worker

    def printed(self, number: str, version: Version, by: str) -> bytes:
        """The PDF of a version for somebody who prints it."""
        return printed(number, version, Copy(by, self._address(number)))

    def _make(self, entry: Entry, version: Version) -> None:
        home: Any = fetch(self._engine, _HOME, {"study": entry.study})
        if not home:
            raise ConflictingDuplicate("the study of the report is not here any more")
        before = self._before(entry, version)
        if version.status != "cancelled":
            if self._settings.reports.structured_report:
                self._store(entry, version, "sr", home[0], before)
            if self._settings.reports.pdf:
                self._store(entry, version, "pdf", home[0], before)
        self._hide(entry, version, before)

    def _before(self, entry: Entry, version: Version) -> list[int]:
        """The signed versions before this one."""
        rows = fetch(self._engine, _EARLIER, {"report": entry.id, "version": version.number})
        return [row[0] for row in rows]

    def _store(self, entry: Entry, version: Version, kind: Kind, home: Any, before: list[int]) -> None:
        attributes: DicomJSON = home.attributes
        if kind == "sr":
            document = structured_report(entry.number, version, attributes, before)
        else:
            content = self.printed(entry.number, version, _BY)
            document = encapsulated_pdf(entry.number, version, attributes, before, content)
        try:
            store(self._begin, document, home.code, home.issuer, self._settings.node.ae_title)
        except ConflictingDuplicate:
            # Made before, by another release in other bytes, and the settings keep the first.
            log.info("the object of a signed report is there already", extra=fields(instance=document.SOPInstanceUID))

    def _hide(self, entry: Entry, version: Version, before: list[int]) -> None:
        kinds: tuple[Kind, ...] = ("sr", "pdf")
        uids = [uid_of(entry.number, kind, each) for kind in kinds for each in before]
        shown = [row[0] for row in fetch(self._engine, _SHOWN, {"study": entry.study, "instances": uids})]
        if not shown:
            return
        cancelled = version.status == "cancelled"
        why = f"Kết quả {'đã hủy' if cancelled else 'được thay bằng phiên bản mới'}: {version.reason}"
        title = "113037" if cancelled else "113001"
        self._rejections.reject(entry.study, code=title, who=version.author_name, why=why[:1024], instances=shown)

    def _address(self, number: str) -> str:
        public = self._settings.web.public_url.rstrip("/")
        return f"{public}/reports/{number}" if public else ""


_EARLIER: Final = text("""
SELECT number FROM report_version WHERE report_id = :report AND number < :version
   AND status IN ('final', 'amended', 'addendum') ORDER BY number
""")
