"""Today's orders of the demo province, so that the worklist has something to show. All people are invented."""

from __future__ import annotations

from typing import Any

from archive.demo.province import BINH, DISTRICT, DUC, HOA, KHANH, PHUONG, PROVINCIAL, YEN, Person
from config import clock

_CT, _MR, _DX, _US = (
    ("CT", "SONGXANH_CT", "Chụp CLVT ngực có tiêm thuốc cản quang"),
    ("MR", "SONGXANH_MR", "Chụp MRI sọ não"),
    ("DX", None, "X-quang ngực thẳng"),
    ("US", None, "Siêu âm ổ bụng"),
)


def orders() -> list[dict[str, Any]]:
    """Orders as `archive.worklist.items.Items.put` takes them."""
    return [
        _order(1, PROVINCIAL, HOA, "0730", _CT, Allergies=["Thuốc cản quang"]),
        _order(2, PROVINCIAL, DUC, "0800", _CT, RequestedProcedurePriority="STAT"),
        _order(3, PROVINCIAL, PHUONG, "0830", _MR, PregnancyStatus=2),
        _order(4, PROVINCIAL, BINH, "0900", _US),
        _order(5, DISTRICT, KHANH, "0915", _DX),
        _order(6, DISTRICT, YEN, "1000", _US, PregnancyStatus=3),
    ]


def _order(
    number: int, facility: str, person: Person, time: str, what: tuple[str, str | None, str], **more: Any
) -> dict[str, Any]:
    modality, station, description = what
    return {
        "Facility": facility,
        "AccessionNumber": f"MAU{clock.today():%y%m%d}-{number:02}",
        "PatientName": person.name,
        "PatientID": person.patient_id,
        "IssuerOfPatientID": person.issuer,
        "PatientBirthDate": person.birth_date,
        "PatientSex": person.sex,
        "Modality": modality,
        "ScheduledStationAETitle": station,
        "ScheduledProcedureStepStartDate": f"{clock.today():%Y%m%d}",
        "ScheduledProcedureStepStartTime": time,
        "RequestedProcedureDescription": description,
        "ReferringPhysicianName": "BS^MẪU",
        **more,
    }
