"""Orders, worklist queries and performed procedure steps for tests."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from archive.core import Archive
from archive.worklist.rows import WorklistEntry
from config import clock

WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
MPPS = "1.2.840.10008.3.1.2.3.3"
MPPS_RETRIEVE = "1.2.840.10008.3.1.2.3.4"
NAME = "NGUYỄN^VĂN ĐỨC"


def order(**changes: Any) -> dict[str, Any]:
    """An order as a hospital sends it; None takes a field away."""
    made = {
        "Facility": "86001",
        "AccessionNumber": "A100",
        "RequestedProcedureID": "P100",
        "ScheduledProcedureStepID": "S100",
        "PatientName": NAME,
        "PatientID": "BN0001",
        "PatientBirthDate": "1962-05-12",
        "PatientSex": "M",
        "PatientWeight": 62.5,
        "PregnancyStatus": 4,
        "Allergies": ["Thuốc cản quang"],
        "Modality": "CT",
        "ScheduledStationAETitle": "CT1",
        "ScheduledProcedureStepStartDate": f"{clock.today():%Y%m%d}",
        "ScheduledProcedureStepStartTime": "0830",
        "ScheduledPerformingPhysicianName": "LÊ^THỊ HOA",
        "ScheduledProcedureStepDescription": "CT sọ não",
        "ScheduledProtocolCodeSequence": [
            {"CodeValue": "SN01", "CodingSchemeDesignator": "99BV", "CodeMeaning": "Sọ não không cản quang"}
        ],
        "RequestedProcedureDescription": "Chụp CLVT sọ não",
        "ReferringPhysicianName": "TRẦN^BÌNH",
        "RequestedProcedurePriority": "ROUTINE",
        "CurrentPatientLocation": "Khoa Nội",
    }
    made.update(changes)
    return {name: value for name, value in made.items() if value is not None}


def put(archive: Archive, **changes: Any) -> WorklistEntry:
    """Put an order on the worklist."""
    return archive.worklist.put(order(**changes), source="api")[0]


def scheduled(**keys: Any) -> Dataset:
    """The item of the Scheduled Procedure Step Sequence of a query."""
    item = Dataset()
    for keyword, value in keys.items():
        setattr(item, keyword, value)
    return item


def question(step: dict[str, Any] | None = None, **keys: Any) -> Dataset:
    """A worklist query as modalities send it, with further keys for the step and beside it."""
    asked = Dataset()
    usual = {
        "PatientName": "",
        "PatientID": "",
        "AccessionNumber": "",
        "StudyInstanceUID": "",
        "RequestedProcedureID": "",
    }
    for keyword, value in {**usual, **keys}.items():
        setattr(asked, keyword, value)
    of_step = {
        "ScheduledStationAETitle": "",
        "ScheduledProcedureStepStartDate": "",
        "ScheduledProcedureStepStartTime": "",
        "Modality": "",
        "ScheduledPerformingPhysicianName": "",
        "ScheduledProcedureStepID": "",
    }
    if not str(asked.PatientName).isascii():
        asked.SpecificCharacterSet = "ISO_IR 192"
    asked.ScheduledProcedureStepSequence = [scheduled(**{**of_step, **(step or {})})]
    return asked


def begin(entry: WorklistEntry | None = None, **changes: Any) -> Dataset:
    """The attributes of an N-CREATE, for a worklist item or unscheduled."""
    said = entry.order() if entry is not None else {}
    link = Dataset()
    link.StudyInstanceUID = said.get("StudyInstanceUID") or generate_uid()
    link.ReferencedStudySequence = []
    link.AccessionNumber = said.get("AccessionNumber", "")
    link.RequestedProcedureID = said.get("RequestedProcedureID", "")
    link.RequestedProcedureDescription = said.get("RequestedProcedureDescription", "")
    link.ScheduledProcedureStepID = said.get("ScheduledProcedureStepID", "")
    link.ScheduledProcedureStepDescription = ""
    link.ScheduledProtocolCodeSequence = []
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.ScheduledStepAttributesSequence = [link]
    made.PatientName = said.get("PatientName", NAME)
    made.PatientID = said.get("PatientID", "BN0001")
    made.PatientBirthDate, made.PatientSex = "19620512", "M"
    made.ReferencedPatientSequence = []
    made.PerformedProcedureStepID = "PPS1"
    made.PerformedStationAETitle, made.PerformedStationName, made.PerformedLocation = "CT1", "", ""
    made.PerformedProcedureStepStartDate = f"{clock.today():%Y%m%d}"
    made.PerformedProcedureStepStartTime = "084500"
    made.PerformedProcedureStepStatus = "IN PROGRESS"
    made.PerformedProcedureStepDescription, made.PerformedProcedureTypeDescription = "CT sọ não", ""
    made.ProcedureCodeSequence = []
    made.PerformedProcedureStepEndDate, made.PerformedProcedureStepEndTime = "", ""
    made.Modality, made.StudyID = said.get("Modality", "CT"), "1"
    made.PerformedProtocolCodeSequence, made.PerformedSeriesSequence = [], []
    for keyword, value in changes.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    return made


def end(status: str = "COMPLETED", series: dict[str, list[str]] | None = None, **changes: Any) -> Dataset:
    """The attributes of the last N-SET: series and their instances."""
    made = Dataset()
    made.PerformedProcedureStepStatus = status
    made.PerformedProcedureStepEndDate = f"{clock.today():%Y%m%d}"
    made.PerformedProcedureStepEndTime = "090000"
    made.PerformedSeriesSequence = [_series(uid, instances) for uid, instances in (series or {"1.2.3": []}).items()]
    for keyword, value in changes.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    return made


def _series(uid: str, instances: list[str]) -> Dataset:
    made = Dataset()
    made.PerformingPhysicianName, made.OperatorsName, made.ProtocolName = "", "", "SN"
    made.SeriesInstanceUID, made.SeriesDescription, made.RetrieveAETitle = uid, "", ""
    made.ReferencedImageSequence = []
    for instance in instances:
        reference = Dataset()
        reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        reference.ReferencedSOPInstanceUID = instance
        made.ReferencedImageSequence.append(reference)
    made.ReferencedNonImageCompositeSOPInstanceSequence = []
    return made
