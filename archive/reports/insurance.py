"""Signed reports as rows of XML4, by which hospitals settle with insurers (QĐ 130/QĐ-BYT, changed by QĐ 4750/QĐ-BYT).

A report is one row with MO_TA and KET_LUAN; each number with a code of its own is one more. MA_LK is the visit and
MA_DICH_VU the service, as the order says (AdmissionID, RequestedProcedureCodeSequence) or who wrote the report. What is
missing or too long is told by a sentence, because validators of insurers refuse the whole file for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree as ET

from archive.reports.records import Entry, Version
from archive.reports.templates import Template, number_of
from config.clock import VIETNAM

FIELDS: Final[dict[str, int | None]] = {
    "MA_LK": 100,
    "STT": 10,
    "MA_DICH_VU": 15,
    "MA_CHI_SO": 50,
    "TEN_CHI_SO": 255,
    "GIA_TRI": 50,
    "DON_VI_DO": 50,
    "MO_TA": None,
    "KET_LUAN": None,
    "NGAY_KQ": 12,
    "MA_BS_DOC_KQ": 255,
    "DU_PHONG": None,
}
"""Names in their order, and the most characters of each."""
_NEEDED: Final = {
    "MA_LK": "thiếu mã lượt khám: chỉ định chưa có (AdmissionID) và kết quả chưa ghi",
    "MA_DICH_VU": "thiếu mã dịch vụ: chỉ định chưa có mã và kết quả chưa ghi",
    "NGAY_KQ": "thiếu thời điểm có kết quả: kết quả chưa được ký",
    "MA_BS_DOC_KQ": "thiếu số chứng chỉ (giấy phép) hành nghề của bác sĩ đọc kết quả",
}
_MOMENT: Final = re.compile(r"\d{12}")


@dataclass(frozen=True, slots=True)
class Fault:
    """What an insurer would refuse."""

    report: str
    field: str
    detail: str


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a report, and what is wrong with them."""

    rows: list[dict[str, str]]
    faults: list[Fault]


def rows_of(entry: Entry, template: Template | None) -> Rows:
    """The rows of the current version of a signed report; without any if it is not signed or is cancelled."""
    version = entry.version
    if version is None or not entry.is_signed:
        return Rows([], [Fault(entry.number, "NGAY_KQ", _NEEDED["NGAY_KQ"])])
    base = _base(version, template)
    main = {
        **base,
        "MA_CHI_SO": _code(version, "MA_CHI_SO") or (template.index_code if template else ""),
        "TEN_CHI_SO": _code(version, "TEN_CHI_SO") or (version.subject or {}).get("procedure", ""),
        "MO_TA": "\n".join(filter(None, (version.description, version.recommendation))),
        "KET_LUAN": version.whole_conclusion,
    }
    rows = [_row(1, main)]
    values = version.content.get("fields", {})
    for field in template.fields if template else ():
        if field.kind == "number" and field.code and values.get(field.id):
            number = {"GIA_TRI": number_of(values[field.id]), "DON_VI_DO": field.unit}
            rows.append(_row(len(rows) + 1, {**base, "MA_CHI_SO": field.code, "TEN_CHI_SO": field.label, **number}))
    return Rows(rows, list(dict.fromkeys(fault for row in rows for fault in _faults(entry.number, row))))


def as_xml(reports: Sequence[Rows]) -> bytes:
    """The XML of reports, numbered through within each visit; those with faults are left out."""
    root = ET.Element("CHITIEU_CHITIET_DICHVUCANLAMSANG")
    listed = ET.SubElement(root, "DSACH_CHI_TIET_CLS")
    counts: dict[str, int] = {}
    for row in [row for report in reports if not report.faults for row in report.rows]:
        counts[row["MA_LK"]] = counts.get(row["MA_LK"], 0) + 1
        item = ET.SubElement(listed, "CHI_TIET_CLS")
        for name in FIELDS:
            ET.SubElement(item, name).text = str(counts[row["MA_LK"]]) if name == "STT" else row[name]
    ET.indent(root)
    encoded: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return encoded


def _base(version: Version, template: Template | None) -> dict[str, str]:
    subject: dict[str, Any] = version.subject or {}
    at = version.signed_at
    return {
        "MA_LK": _code(version, "MA_LK") or subject.get("admission", ""),
        "MA_DICH_VU": _code(version, "MA_DICH_VU")
        or subject.get("procedure_code", "")
        or (template.service_code if template else ""),
        "NGAY_KQ": at.astimezone(VIETNAM).strftime("%Y%m%d%H%M") if at else "",
        "MA_BS_DOC_KQ": version.author_licence,
    }


def _code(version: Version, name: str) -> str:
    return str(version.content.get("codes", {}).get(name, ""))


def _row(number: int, values: dict[str, str]) -> dict[str, str]:
    return {name: str(number) if name == "STT" else values.get(name, "") for name in FIELDS}


def _faults(report: str, row: dict[str, str]) -> list[Fault]:
    found = [Fault(report, name, why) for name, why in _NEEDED.items() if not row[name]]
    for name, most in FIELDS.items():
        if most is not None and len(row[name]) > most:
            found.append(Fault(report, name, f"dài quá {most} ký tự"))
    if row["NGAY_KQ"] and not _MOMENT.fullmatch(row["NGAY_KQ"]):
        found.append(Fault(report, "NGAY_KQ", "không phải năm tháng ngày giờ phút"))
    return found
