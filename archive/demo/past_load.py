"""Puts the demo's past into an archive: by the ordinary ingest, worklist and reports, then dated back to when it was.

Only the demo does that: what happens in an archive of patients is dated by the archive. It may be stopped at any point
and gone on with; what is there already is passed over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from psycopg import Connection as PsycopgConnection
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    UltrasoundImageStorage,
)

from archive.demo.past import FACILITIES, READERS, Visit, visits
from archive.demo.pictures import picture
from archive.demo.province import uid
from archive.index_session import IndexSession
from archive.people.caller import Caller, Kind
from archive.people.roles import Right
from archive.records import Source
from archive.reports.records import Author, Written
from config import clock

if TYPE_CHECKING:
    from archive.core import Archive

Progress = Callable[[int, int], None]

MARK: Final = "demo.past"
"""In the folder of the data as long as not all of it is loaded: how many studies, and from which time on back."""
_PATIENCE: Final = 60.0
"""Seconds that the end waits for who follows the index."""
_INSTALLER: Final = Caller(Kind.SYSTEM, "demo", dict.fromkeys(Right))
_CLASSES: Final = {
    "CR": ComputedRadiographyImageStorage,
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "US": UltrasoundImageStorage,
}
_AGO: Final = (
    """UPDATE stored_object SET received_at = %(arrived)s FROM instance, series, study
        WHERE instance_id = instance.id AND series_id = series.id AND series.study_id = study.id
          AND study_instance_uid = %(study)s""",
    "UPDATE study SET created_at = %(arrived)s WHERE study_instance_uid = %(study)s",
    """UPDATE worklist_item SET created_at = %(ordered)s
        WHERE accession_number = %(accession)s AND %(ordered)s::timestamptz IS NOT NULL""",
    """INSERT INTO delivery (study_id, mode, delivered_at, delivered_by)
       SELECT id, %(mode)s, %(reported)s, 'demo' FROM study WHERE study_instance_uid = %(study)s AND %(mode)s <> ''""",
    "INSERT INTO figure_dirty (what, key) SELECT 'study', id FROM study WHERE study_instance_uid = %(study)s",
)
# Whoever follows the index must have passed it: what is old and was not looked at would count as delay.
_PASSED: Final = """
SELECT max(stored_object.id) <= least((SELECT position FROM feed_cursor), (SELECT position FROM audit_cursor))
  FROM stored_object JOIN instance ON instance.id = instance_id JOIN series ON series.id = series_id
  JOIN study ON study.id = series.study_id WHERE study_instance_uid = %(study)s
"""
# Of devices: when they were first seen to send, all was new.
_SOURCES: Final = """
UPDATE figure_source SET received_at = heard.at
  FROM (SELECT facility_id, calling_ae_title, max(received_at) AS at FROM stored_object GROUP BY 1, 2) AS heard
 WHERE heard.facility_id = figure_source.facility_id AND heard.calling_ae_title = figure_source.calling_ae_title
"""


def begin(data_dir: Path, count: int) -> None:
    """Have it loaded, now or by a later start."""
    mark = {"studies": count, "now": clock.now().replace(tzinfo=None).isoformat(timespec="seconds")}
    (data_dir / MARK).write_text(json.dumps(mark), encoding="utf-8")


def is_wanted(data_dir: Path) -> bool:
    """Whether it was begun and is not whole."""
    return (data_dir / MARK).exists()


def load(archive: Archive, progress: Progress | None = None) -> int:
    """Load what was begun, and give the number of its studies. Raises what storing raises."""
    mark = archive.settings.data_dir / MARK
    wanted = json.loads(mark.read_text(encoding="utf-8"))
    found = visits(int(wanted["studies"]), datetime.fromisoformat(wanted["now"]))
    session = IndexSession(archive.settings.database, "pacs demo")
    try:
        recent: list[Visit] = []
        for done, visit in enumerate(found, start=1):
            if not _is_whole(session, visit):
                _load_one(archive, visit)
                recent.append(visit)
            while recent and _is_passed(session, recent[0]):
                _date_back(session, recent.pop(0))
            if progress is not None:
                progress(done, len(found))
        deadline = time.monotonic() + _PATIENCE
        for visit in recent:
            while not _is_passed(session, visit) and time.monotonic() < deadline:
                time.sleep(0.2)
            _date_back(session, visit)
        session.run(lambda connection: connection.execute(_SOURCES))
    finally:
        session.close()
    mark.unlink()
    return len(found)


def _is_whole(session: IndexSession, visit: Visit) -> bool:
    """Whether it was dated back, which comes last."""
    asked = "SELECT FROM study WHERE study_instance_uid = %s AND created_at = %s"
    given = (study_uid(visit), _zoned(visit.arrived_at))
    return session.run(lambda connection: connection.execute(asked, given).fetchone()) is not None


def _is_passed(session: IndexSession, visit: Visit) -> bool:
    """Whether feed and record have its images; also where nobody follows."""
    given = {"study": study_uid(visit)}
    row = session.run(lambda connection: connection.execute(_PASSED, given).fetchone())
    return row is None or row[0] is not False


def _load_one(archive: Archive, visit: Visit) -> None:
    facility = archive.settings.peer_book().facilities[visit.facility]
    if visit.ordered_at is not None:
        archive.worklist.put(_order(visit), source="import")
    source = Source(visit.facility, facility.issuer, "import", visit.station)
    for index in range(visit.what.images):
        dataset = image(visit, index)
        with archive.begin(
            source,
            sop_class_uid=str(dataset.SOPClassUID),
            sop_instance_uid=str(dataset.SOPInstanceUID),
            transfer_syntax_uid=str(ExplicitVRLittleEndian),
        ) as receiving:
            receiving.write(_encoded(dataset))
            receiving.finish()
    if visit.reported_at is not None:
        _report(archive, visit)


def _date_back(session: IndexSession, visit: Visit) -> None:
    given = {
        "study": study_uid(visit),
        "accession": visit.accession_number,
        "arrived": _zoned(visit.arrived_at),
        "ordered": visit.ordered_at and _zoned(visit.ordered_at),
        "reported": visit.reported_at and _zoned(visit.reported_at),
        "mode": visit.given,
    }

    def work(connection: PsycopgConnection[Any]) -> None:
        with connection.transaction():
            for statement in _AGO:
                connection.execute(statement, given)

    session.run(work)


def _report(archive: Archive, visit: Visit) -> None:
    assert visit.reported_at is not None
    if archive.reports.of_study(_INSTALLER, study_uid(visit)):
        return
    author = Author(*READERS[visit.facility])
    written = Written(text=visit.finding[0], conclusion=visit.finding[1])
    entry = archive.reports.create(_INSTALLER, study_uid(visit), written, author=author, source="api")
    archive.reports.sign(_INSTALLER, entry.number, entry.revision, author=author, at=_zoned(visit.reported_at))


def _order(visit: Visit) -> dict[str, Any]:
    person = visit.person
    return {
        "Facility": visit.facility,
        "AccessionNumber": visit.accession_number,
        "PatientName": person.name,
        "PatientID": person.patient_id,
        "IssuerOfPatientID": person.issuer,
        "PatientBirthDate": person.birth_date,
        "PatientSex": person.sex,
        "Modality": visit.what.modality,
        "StudyInstanceUID": study_uid(visit),
        "ScheduledProcedureStepStartDate": f"{visit.studied_at:%Y%m%d}",
        "ScheduledProcedureStepStartTime": f"{visit.studied_at:%H%M}",
        "RequestedProcedureDescription": visit.what.description,
        "ReferringPhysicianName": "BS^MẪU",
    }


def study_uid(visit: Visit) -> str:
    return uid("past", "study", visit.accession_number)


def image(visit: Visit, index: int) -> Dataset:
    """One image of an examination (PS3.3 A.2, A.3, A.4, A.6)."""
    what, person = visit.what, visit.person
    pixels = picture(what.picture, visit.number, index)
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = _CLASSES[what.modality]
    made.SOPInstanceUID = uid("past", "instance", visit.accession_number, index)
    made.ImageType = ["ORIGINAL", "PRIMARY", *({"CT": ["AXIAL"], "MR": ["OTHER"]}.get(what.modality, []))]
    made.StudyDate = made.SeriesDate = made.AcquisitionDate = made.ContentDate = f"{visit.studied_at:%Y%m%d}"
    made.StudyTime = made.SeriesTime = made.AcquisitionTime = made.ContentTime = f"{visit.studied_at:%H%M%S}"
    made.AccessionNumber, made.StudyID = visit.accession_number, visit.accession_number[-5:]
    made.Modality, made.Manufacturer, made.ManufacturerModelName = what.modality, "pydicom, numpy", "Dữ liệu mẫu"
    made.InstitutionName, made.StationName = FACILITIES[visit.facility], visit.station
    made.ReferringPhysicianName = "BS^MẪU"
    made.StudyDescription = made.SeriesDescription = what.description
    made.PatientName, made.PatientID, made.IssuerOfPatientID = person.name, person.patient_id, person.issuer
    made.PatientBirthDate, made.PatientSex = person.birth_date, person.sex
    made.BodyPartExamined = what.body_part
    made.StudyInstanceUID, made.SeriesInstanceUID = study_uid(visit), uid("past", "series", visit.accession_number)
    made.SeriesNumber, made.InstanceNumber = 1, index + 1
    _ACQUIRED[what.modality](made, index)
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape
    stored = 8 if what.modality == "US" else 12
    made.BitsAllocated, made.BitsStored, made.HighBit = (8 if stored == 8 else 16), stored, stored - 1
    made.PixelRepresentation = 0
    made.PixelData = pixels.astype("u1" if stored == 8 else "<u2").tobytes()
    return made


def _plane(made: Dataset, index: int) -> None:
    """Where the slice is (PS3.3 C.7.6.2)."""
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = uid("past", "frame", made.AccessionNumber), ""
    made.PatientPosition, made.ImageOrientationPatient = "HFS", [1, 0, 0, 0, 1, 0]
    made.ImagePositionPatient, made.PixelSpacing, made.SliceThickness = [-191, -191, 60 - 40 * index], [1.5, 1.5], 5


def _ct(made: Dataset, index: int) -> None:
    _plane(made, index)
    made.KVP, made.AcquisitionNumber = 120, 1
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = -1024, 1, "HU"
    made.WindowCenter, made.WindowWidth = (40, 80) if made.BodyPartExamined == "HEAD" else (40, 400)


def _mr(made: Dataset, index: int) -> None:
    _plane(made, index)
    made.ScanningSequence, made.SequenceVariant, made.ScanOptions = "SE", "NONE", ""
    made.MRAcquisitionType, made.EchoTime, made.RepetitionTime, made.EchoTrainLength = "2D", 95, 4200, 12
    made.WindowCenter, made.WindowWidth = 1900, 3800


def _cr(made: Dataset, index: int) -> None:
    del index
    made.ViewPosition, made.PatientOrientation, made.KVP = "PA", ["L", "F"], 110
    made.ImagerPixelSpacing = [1.4, 1.4]
    made.WindowCenter, made.WindowWidth = 2048, 4096


def _us(made: Dataset, index: int) -> None:
    del index
    made.PatientOrientation = ""
    made.LossyImageCompression = "00"


_ACQUIRED: Final = {"CT": _ct, "MR": _mr, "CR": _cr, "US": _us}


def _encoded(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    buffer = BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=False)
    return buffer.getvalue()


def _zoned(moment: datetime) -> datetime:
    return moment.replace(tzinfo=clock.VIETNAM)
